//! Arrivals at a pace, how a group's consumers followed them, and how the simulator says that they do.

use std::{fmt::Write as _, time::Duration};

use anyhow::{Context, Result, ensure};
use pondage_resources::Rate;
use serde_json::Value;

use super::shop::{Shop, manifest};

/// A step, a burst, a ramp: seconds, and messages a second at their beginning and end.
const PARTS: [(u64, u64, u64); 5] =
    [(25, 150, 150), (8, 450, 450), (12, 60, 60), (40, 60, 240), (20, 100, 100)];
/// What is looked at behind them, in seconds.
const TAIL: u64 = 60;
/// How old a message may get, in seconds.
const TARGET: f64 = 15.0;
/// How far what was predicted may be from what is: this share of it, or so many seconds.
const SHARE: f64 = 0.25;
const SECONDS: f64 = 10.0;

/// The pace as the application takes it.
pub(super) fn pace() -> String {
    PARTS.map(|(seconds, first, last)| format!("{seconds}:{first}-{last}")).join(",")
}

/// How it is at a moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) at_millis: u64,
    pub(super) replicas: u64,
    /// Of the oldest message.
    pub(super) age_seconds: f64,
}

/// How the consumers followed.
#[derive(Debug, Default)]
pub(super) struct Course {
    /// When the first message came.
    pub(super) begun_millis: u64,
    pub(super) samples: Vec<Sample>,
}

/// What a course comes to, in seconds and replicas times seconds.
#[derive(Debug, Default)]
pub(super) struct Summary {
    late_seconds: f64,
    oldest_seconds: f64,
    replica_seconds: f64,
    asleep_after_seconds: f64,
}

impl Course {
    fn summary(&self) -> Summary {
        let mut summary = Summary::default();
        for pair in self.samples.windows(2) {
            let [before, sample] = pair else { continue };
            if sample.at_millis < self.begun_millis {
                continue;
            }
            let seconds = (sample.at_millis - before.at_millis) as f64 / 1_000.0;
            summary.add(seconds, sample.replicas as f64, sample.age_seconds);
            if sample.replicas > 0 {
                summary.asleep_after_seconds = (sample.at_millis - self.begun_millis) as f64 / 1_000.0;
            }
        }
        summary
    }

    /// Both, if they are close enough.
    pub(super) fn compare(&self, predicted: &Summary) -> Result<String> {
        let measured = self.summary();
        let figures =
            |of: &Summary| [of.late_seconds, of.oldest_seconds, of.replica_seconds, of.asleep_after_seconds];
        let names =
            ["seconds above the target", "the oldest message's age", "replica-seconds", "asleep after"];
        let mut text = String::from("measured and predicted:");
        let mut far = String::new();
        for (name, (measured, predicted)) in
            names.iter().zip(figures(&measured).iter().zip(figures(predicted)))
        {
            write!(text, " {name} {measured:.1} and {predicted:.1},")?;
            if (measured - predicted).abs() > SECONDS.max(SHARE * predicted) {
                write!(far, " {name}")?;
            }
        }
        ensure!(far.is_empty(), "too far apart:{far} ({text})");
        Ok(text.trim_end_matches(',').to_owned())
    }
}

impl Summary {
    fn add(&mut self, seconds: f64, replicas: f64, age_seconds: f64) {
        self.replica_seconds += seconds * replicas;
        self.oldest_seconds = self.oldest_seconds.max(age_seconds);
        if age_seconds > TARGET {
            self.late_seconds += seconds;
        }
    }
}

/// What `pondage autoscale simulate` says of the same arrivals, for workers that get done what the group's status says, and
/// start within this time.
pub(super) fn predicted(shop: &Shop, spec: &str, start: Duration) -> Result<Summary> {
    let group = shop.get("consumergroup", "jobs-group")?;
    let rate: Rate =
        group["status"]["autoscaler"]["capacityPerReplica"].as_str().context("a capacity")?.parse()?;
    let folder = tempfile::tempdir()?;
    let (file, table) = (folder.path().join("group.yaml"), folder.path().join("arrivals.csv"));
    std::fs::write(&file, manifest("ConsumerGroup", "jobs-group", spec))?;
    std::fs::write(&table, arrivals())?;
    let rate = (rate.millionths() as f64 / 1e6).to_string();
    let start = start.as_secs_f64().ceil().to_string();
    let said = shop.pondage_here(&[
        "autoscale",
        "simulate",
        "--file",
        &file.display().to_string(),
        "--trace",
        &table.display().to_string(),
        "--partitions",
        "1",
        "--service-rate",
        &rate,
        "--start",
        &start,
        "--output",
        "json",
    ])?;
    let said: Value = serde_json::from_str(&said)?;
    let mut summary = Summary::default();
    for (second, moment) in said["series"].as_array().context("a series")?.iter().enumerate() {
        let replicas = moment["replicas"].as_f64().context("replicas")?;
        let age = moment["oldestAgeMillis"].as_f64().context("an age")? / 1_000.0;
        summary.add(1.0, replicas, age);
        if replicas > 0.0 {
            summary.asleep_after_seconds = second as f64 + 1.0;
        }
    }
    Ok(summary)
}

/// The arrivals, second by second, and nothing behind them.
fn arrivals() -> String {
    let mut table = String::from("seconds,rate\n");
    let mut second = 0;
    for (seconds, first, last) in PARTS {
        for at in 0..seconds {
            let slope = (last as f64 - first as f64) / seconds as f64;
            // Writing to a string can't fail.
            let _ = writeln!(table, "{second},{}", first as f64 + slope * (at as f64 + 0.5));
            second += 1;
        }
    }
    // The last row holds as long as the one before it.
    table + &format!("{second},0\n{},0\n", second + TAIL)
}
