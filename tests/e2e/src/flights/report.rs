//! The table at the end of a run.

use std::{fmt::Display, time::Duration};

use super::{
    QUEUES,
    kills::Kill,
    ledger::{Ledger, Records},
    read::Seen,
    verify::Findings,
};

/// What a run came to.
pub(crate) struct Summary<'a> {
    pub(crate) seed: u64,
    pub(crate) ledger: &'a Ledger,
    pub(crate) records: &'a Records,
    pub(crate) topic: &'a Seen,
    pub(crate) kills: &'a [Kill],
    pub(crate) findings: &'a Findings,
    /// From the first publish to the last accept.
    pub(crate) took: Duration,
    /// Of the harness itself, and of all broker processes, in seconds.
    pub(crate) processor_seconds: f64,
}

impl Summary<'_> {
    /// Prints it.
    pub(crate) fn print(&self) {
        let rows = self.ledger.rows.len() as u64;
        let progress = self.ledger.progress();
        let accepted = self.records.accepted.len() as u64;
        let grants = self.records.grants.len() as u64;
        let counted = self.kills.iter().filter(|kill| kill.counts()).count();
        let repeated = self.records.accepted.iter().filter(|accepted| accepted.already).count();
        let duplicates = (self.topic.count() as u64).saturating_sub(rows);
        let seconds = self.took.as_secs_f64();
        let (gap, peak) = self.ledger.gap_and_peak();
        let back: Vec<Duration> = self.kills.iter().map(|kill| kill.back_after).collect();
        let mean = back.iter().sum::<Duration>() / u32::try_from(back.len().max(1)).unwrap_or(1);
        let unanswered = |count: fn(&Kill) -> u64| {
            let all = || self.kills.iter().filter(|kill| kill.counts()).map(count);
            format!("{} to {}", all().min().unwrap_or(0), all().max().unwrap_or(0))
        };
        let (of_file, of_topic) = self.findings.checksums;

        println!();
        line("rows", &rows);
        line("acknowledged by the topic", &progress.topic_acked);
        line(&format!("acknowledged by {} queues", QUEUES.len()), &progress.queue_acked);
        line("  stored before a kill, answer lost", &self.ledger.stored_before());
        line("in the topic at the end", &self.topic.count());
        line("duplicates in the topic", &duplicates);
        line("delivered by the queues", &grants);
        line("  more than once", &grants.saturating_sub(rows));
        line("accepted", &accepted);
        line("  settled before a kill, answer lost", &repeated);
        line("released", &self.records.released);
        line("settled too late, lease over", &self.records.lease_lost);
        line("earlier deliveries that came after the accept", &self.findings.late_deliveries);
        line("kills that count", &format!("{counted} of {}", self.kills.len()));
        line("publishes unanswered at a kill", &unanswered(|kill| kill.publishes));
        line("settles unanswered at a kill", &unanswered(|kill| kill.settles));
        let longest = back.iter().max().copied().unwrap_or_default();
        let back = format!("{} ms, {} ms", mean.as_millis(), longest.as_millis());
        line("back after a kill, mean and longest", &back);
        line("longest gap between two answers", &format!("{} ms", gap.as_millis()));
        line("time", &format!("{seconds:.1} s"));
        let rate = |count: u64| format!("{:.0} messages/s", count as f64 / seconds);
        line("published, topic and queues", &rate(progress.topic_acked + progress.queue_acked));
        line("accepted", &rate(accepted));
        line("answers in the best second", &peak);
        line("processor time, brokers", &format!("{:.1} s", self.processor_seconds));
        line("checksum of the file", &format!("{of_file:016x}"));
        line("checksum of the topic", &format!("{of_topic:016x}"));
        line("seed", &self.seed);
        println!();
    }
}

fn line(name: &str, value: &dyn Display) {
    println!("{name:<46} {value:>22}");
}
