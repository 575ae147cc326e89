//! What a run came to: a table for people, JSON for programs, a line for test runners.

use std::{collections::BTreeMap, fmt::Write, path::Path, time::Duration};

use anyhow::{Context, Result};
use pondage_history::Rule;
use serde_json::{Value, json};

use crate::{
    load::Findings,
    run::{Fault, Plan},
    scenarios::Scenario,
};

/// The result of a run.
#[derive(Debug)]
pub struct Outcome {
    plan: Plan,
    /// All faults in the order in which they were made.
    pub faults: Vec<Fault>,
    /// The verdicts, one for each cluster.
    pub findings: Vec<Findings>,
    skipped: Vec<(&'static str, String)>,
}

/// One line of the table.
struct Row<'a> {
    scenario: &'a Scenario,
    made: usize,
    counted: usize,
    /// Of those that count, sorted.
    gaps: Vec<Duration>,
}

impl Row<'_> {
    fn gap(&self, percent: usize) -> Option<Duration> {
        // The smallest gap that so many of a hundred do not exceed.
        let rank = (self.gaps.len() * percent).div_ceil(100).max(1);
        self.gaps.get(rank - 1).copied()
    }

    fn is_too_slow(&self) -> bool {
        self.gap(99).zip(self.scenario.gap_max).is_some_and(|(gap, gap_max)| gap > gap_max)
    }
}

impl Outcome {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self { plan: plan.clone(), faults: Vec::new(), findings: Vec::new(), skipped: Vec::new() }
    }

    pub(crate) fn skip(&mut self, scenario: &Scenario, reason: String) {
        println!("SKIPPED: {}: {reason}", scenario.name);
        self.skipped.push((scenario.name, reason));
    }

    /// Whether no promise was broken. Gaps beyond the bar are reported, and fail a run only if asked.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.findings.iter().all(Findings::is_good)
    }

    /// The kinds whose gaps are beyond their bar.
    #[must_use]
    pub fn too_slow(&self) -> Vec<&'static str> {
        self.rows().iter().filter(|row| row.is_too_slow()).map(|row| row.scenario.name).collect()
    }

    fn rows(&self) -> Vec<Row<'_>> {
        let mut by_name: BTreeMap<&str, Vec<&Fault>> = BTreeMap::new();
        for fault in &self.faults {
            by_name.entry(fault.name).or_default().push(fault);
        }
        let row = |(scenario, _): &'_ (Scenario, u32)| {
            let faults = by_name.get(scenario.name)?;
            let counted: Vec<_> = faults.iter().filter(|fault| fault.counts).collect();
            let mut gaps: Vec<Duration> = counted.iter().map(|fault| fault.gap).collect();
            gaps.sort_unstable();
            Some((scenario.name, faults.len(), counted.len(), gaps))
        };
        let scenarios = self.plan.scenarios.iter();
        let rows = scenarios.filter_map(|entry| {
            let (_, made, counted, gaps) = row(entry)?;
            Some(Row { scenario: &entry.0, made, counted, gaps })
        });
        rows.collect()
    }

    /// How often a promise was broken.
    fn count(&self, rule: Rule) -> u64 {
        self.findings
            .iter()
            .filter_map(|findings| findings.report.broken.get(&rule))
            .map(|broken| broken.count)
            .sum()
    }

    /// The table.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = format!(
            "\n{:<14} {:>7} {:>8} {:>8} {:>8} {:>8}  {}\n",
            "fault", "made", "counted", "gap p50", "p99", "max", "bar"
        );
        for row in self.rows() {
            let millis =
                |gap: Option<Duration>| gap.map_or("-".to_owned(), |gap| format!("{} ms", gap.as_millis()));
            let bar = row.scenario.gap_max.map_or(String::new(), |gap_max| {
                let verdict = if row.is_too_slow() { "MISSED" } else { "kept" };
                format!("{} ms {verdict}", gap_max.as_millis())
            });
            let (name, made, counted) = (row.scenario.name, row.made, row.counted);
            let [half, most, max] = [50, 99, 100].map(|percent| millis(row.gap(percent)));
            let _ = writeln!(table, "{name:<14} {made:>7} {counted:>8} {half:>8} {most:>8} {max:>8}  {bar}");
        }
        for (name, reason) in &self.skipped {
            let _ = writeln!(table, "{name:<14} SKIPPED: {reason}");
        }
        let _ = writeln!(
            table,
            "\nlost {}, granted after a confirmed accept {}",
            self.count(Rule::D1),
            self.count(Rule::Q1)
        );
        for findings in &self.findings {
            let _ = write!(table, "\n{}", findings.report);
            for problem in &findings.problems {
                let _ = writeln!(table, "VIOLATED: {problem}");
            }
        }
        table
    }

    /// The line that test runners read: kinds of faults as tests.
    #[must_use]
    pub fn summary(&self) -> String {
        let kinds = self.rows().len();
        let (passed, failed) = if self.is_good() { (kinds, 0) } else { (0, kinds.max(1)) };
        let word = if failed == 0 { "ok" } else { "FAILED" };
        format!("test result: {word}. {passed} passed; {failed} failed; {} ignored", self.skipped.len())
    }

    /// Everything, as JSON.
    ///
    /// # Errors
    /// If the file can't be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let millis = |gap: Option<Duration>| gap.map(|gap| gap.as_micros() as f64 / 1_000.0);
        let kinds: Vec<Value> = self
            .rows()
            .iter()
            .map(|row| {
                json!({
                    "fault": row.scenario.name, "made": row.made, "counted": row.counted,
                    "gap_millis_p50": millis(row.gap(50)), "gap_millis_p99": millis(row.gap(99)),
                    "gap_millis_max": millis(row.gap(100)), "gap_millis_bar": millis(row.scenario.gap_max),
                })
            })
            .collect();
        let skipped: Vec<Value> =
            self.skipped.iter().map(|(name, reason)| json!({ "fault": name, "reason": reason })).collect();
        let verdicts: Vec<Value> = self
            .findings
            .iter()
            .map(|findings| json!({ "report": findings.report, "problems": findings.problems }))
            .collect();
        let value = json!({
            "brokers": self.plan.brokers, "rate": self.plan.rate, "seed": self.plan.seed, "is_good": self.is_good(),
            "lost": self.count(Rule::D1), "regrants": self.count(Rule::Q1),
            "kinds": kinds, "skipped": skipped, "verdicts": verdicts, "faults": self.faults,
        });
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(path, serde_json::to_string_pretty(&value)?)
            .with_context(|| path.display().to_string())
    }
}
