//! The figures of publishing, for people, programs and `docs/benchmarks.md`.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::{
    figures::{median, table},
    load::Load,
    machine::Machine,
    publish::Subject,
};

/// Everything that was measured.
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) load_before: String,
    pub(crate) load_after: String,
    pub(crate) publishers: usize,
    pub(crate) connections: usize,
    pub(crate) seconds: f64,
    /// With the round.
    pub(crate) measured: Vec<(usize, Subject, Load)>,
}

/// A bar and what was reached.
struct Bar {
    what: &'static str,
    wanted: f64,
    reached: f64,
    least: f64,
    most: f64,
}

impl Report {
    fn of(&self, subject: Subject) -> Vec<(usize, Load)> {
        let same = self.measured.iter().filter(|(_, measured, _)| *measured == subject);
        same.map(|(round, _, load)| (*round, *load)).collect()
    }

    fn subjects(&self) -> Vec<Subject> {
        let mut subjects: Vec<Subject> = self.measured.iter().map(|(_, subject, _)| *subject).collect();
        subjects.sort_unstable();
        subjects.dedup();
        subjects
    }

    /// The ratios of two subjects, round by round.
    fn ratios(&self, of: Subject, to: Subject) -> Vec<f64> {
        let (of, to) = (self.of(of), self.of(to));
        let paired = of.iter().filter_map(|(round, of)| {
            let (_, to) = to.iter().find(|(other, _)| other == round)?;
            Some(of.calls_per_second / to.calls_per_second)
        });
        paired.collect()
    }

    fn bars(&self) -> Vec<Bar> {
        let fsyncs =
            self.of(Subject::SlowPublish).iter().filter_map(|(_, load)| load.calls_per_fsync).collect();
        let bars = [
            ("messages per fsync, +2 ms per fsync", 20.0, fsyncs),
            (
                "times the rate of one publisher, +2 ms per fsync",
                20.0,
                self.ratios(Subject::SlowPublish, Subject::SlowOne),
            ),
            ("% of the empty echo, this disk", 60.0, {
                let ratios = self.ratios(Subject::Publish, Subject::Echo);
                ratios.into_iter().map(|ratio| ratio * 100.0).collect()
            }),
        ];
        bars.into_iter()
            .filter(|(_, _, reached): &(_, _, Vec<f64>)| !reached.is_empty())
            .map(|(what, wanted, mut reached)| {
                reached.sort_unstable_by(f64::total_cmp);
                let (least, most) = (reached[0], reached[reached.len() - 1]);
                Bar { what, wanted, reached: median(&reached), least, most }
            })
            .collect()
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        let measured: Vec<Value> = self
            .measured
            .iter()
            .map(|(round, subject, load)| {
                json!({ "round": round + 1, "subject": subject.title(self.publishers), "load": load })
            })
            .collect();
        let bars: Vec<Value> = self
            .bars()
            .iter()
            .map(|bar| {
                json!({
                    "what": bar.what, "wanted": bar.wanted, "reached": bar.reached,
                    "least": bar.least, "most": bar.most, "met": bar.reached >= bar.wanted,
                })
            })
            .collect();
        json!({
            "machine": self.machine, "load_before": self.load_before, "load_after": self.load_after,
            "connections": self.connections, "seconds": self.seconds, "measured": measured, "bars": bars,
        })
    }

    /// For people, in a terminal and in a document.
    pub(crate) fn markdown(&self) -> String {
        let mut rows = vec![
            [
                "medians",
                "calls/s",
                "p50 ms",
                "p99 ms",
                "server µs/call",
                "client µs/call",
                "calls/fsync",
                "disk B/call",
            ]
            .map(str::to_owned),
        ];
        for subject in self.subjects() {
            let loads: Vec<Load> = self.of(subject).into_iter().map(|(_, load)| load).collect();
            let median_of = |figure: fn(&Load) -> Option<f64>, digits: usize| {
                let mut figures: Vec<f64> = loads.iter().filter_map(figure).collect();
                figures.sort_unstable_by(f64::total_cmp);
                if figures.is_empty() { "–".to_owned() } else { format!("{:.digits$}", median(&figures)) }
            };
            rows.push([
                subject.title(self.publishers),
                median_of(|load| Some(load.calls_per_second), 0),
                median_of(|load| Some(load.median_micros as f64 / 1e3), 2),
                median_of(|load| Some(load.p99_micros as f64 / 1e3), 2),
                median_of(|load| Some(load.server_cpu_micros_per_call), 1),
                median_of(|load| Some(load.client_cpu_micros_per_call), 1),
                median_of(|load| load.calls_per_fsync, 1),
                median_of(|load| load.disk_bytes_per_call, 0),
            ]);
        }
        let mut text = table(&rows);
        let mut rows = vec![["bar", "wanted", "median", "least", "most", ""].map(str::to_owned)];
        for bar in self.bars() {
            let shown = |figure: f64| format!("{figure:.1}");
            let met = if bar.reached >= bar.wanted { "met" } else { "**missed**" };
            rows.push([
                bar.what.to_owned(),
                format!("≥ {}", bar.wanted),
                shown(bar.reached),
                shown(bar.least),
                shown(bar.most),
                met.to_owned(),
            ]);
        }
        if rows.len() > 1 {
            text.push('\n');
            text.push_str(&table(&rows));
        }
        let machine = &self.machine;
        let rounds = self.measured.iter().map(|(round, ..)| round + 1).max().unwrap_or(0);
        // Writing to a string can't fail.
        let _ = write!(
            text,
            "\n{rounds} rounds of {} s each, {} connections. {} cores of {}, Linux {}, {}; 1 KiB written and synced \
             alone takes {} µs (median). Load averages {} before, {} after. Commit {}.\n",
            self.seconds,
            self.connections,
            machine.cores,
            machine.processor,
            machine.kernel,
            machine.file_system,
            machine.sync_micros,
            self.load_before,
            self.load_after,
            machine.commit,
        );
        text
    }
}
