//! `pondage autoscale simulate`: a group's autoscaling, run through a table of what arrived.

use std::path::PathBuf;

use clap::Args;
use pondage_autoscale::{
    Learned, LimitedBy, Source,
    simulate::{Controlled, Moment, Outcome, Scaler, Trace, World, run},
    trace,
};
use pondage_model::settings::{GroupSettings, GroupSource};
use pondage_resources::{Autoscaling, Resource, ScalingGoal, Settings};
use serde::Serialize;

use super::super::{ResultForm, print};
use crate::{
    exit::{Exit, Failure, Result},
    files,
    render::table::{number, table, text},
};

/// Bytes of a table of arrivals: a row for each second of a week, with dozens of partitions.
const TABLE_BYTES_MAX: u64 = 1 << 30;
/// The rows of the table for people, at most.
const ROWS: usize = 40;

/// Run a group's autoscaling through a table of what arrived, second by second
///
/// The same code decides as in the operator; pods, messages and time are simulated.
#[derive(Args, Debug)]
#[command(after_help = "\
The table has a line of column names, and then a line for each moment at which something changes:
  seconds        from the start, ascending
  rate           messages per second in all, or p0, p1, … for each partition
  service_rate   messages per second that one replica gets done; --service-rate if it is left out

Examples:
  pondage autoscale simulate -f group.yaml --trace monday.csv --partitions 12 --service-rate 40
  pondage autoscale simulate -f group.yaml --trace monday.csv -o json | jq .violationSeconds")]
pub(crate) struct Simulate {
    /// A resource file with the group
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: PathBuf,

    /// Which group, if the file has several that are scaled
    #[arg(long, value_name = "NAME", value_hint = clap::ValueHint::Other)]
    group: Option<String>,

    /// The table, as CSV; `-` for stdin
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    trace: PathBuf,

    /// Partitions that the column `rate` is dealt to
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    partitions: u16,

    /// Messages per second that one replica gets done
    #[arg(long, value_name = "RATE", default_value_t = 10.0)]
    service_rate: f32,

    /// Seconds that a new pod takes until it is a member
    #[arg(long, value_name = "SECONDS", default_value_t = 12)]
    start: u16,

    /// Seconds that partitions rest when they change hands
    #[arg(long, value_name = "SECONDS", default_value_t = 3)]
    rebalance: u16,

    /// Replicas at the beginning; as few as there may be, if it is left out
    #[arg(long, value_name = "N")]
    replicas: Option<u32>,

    /// What is drawn from: another number, other start times
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,

    /// The form of the result
    #[arg(short, long, value_enum, default_value_t, value_name = "FORM")]
    output: ResultForm,
}

/// The result, for programs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    group: String,
    seconds: usize,
    violation_seconds: u64,
    replica_hours: f64,
    scale_events: u64,
    killed_in_flight: u64,
    series: Vec<Second>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Second {
    arrived: f64,
    backlog: f64,
    oldest_age_millis: u64,
    replicas: u32,
    ready: u32,
}

impl Simulate {
    pub(crate) fn is_json(&self) -> bool {
        self.output == ResultForm::Json
    }

    pub(crate) fn run(&self) -> Result<Exit> {
        let (name, settings, autoscaling) = self.group()?;
        let trace = self.trace()?;
        let outcome = self.outcome(&settings, &autoscaling, &trace)?;
        print(&match self.output {
            ResultForm::Json => as_json(name, trace.arrivals.len(), outcome)?,
            ResultForm::Text => for_people(&name, &autoscaling, &outcome),
        })?;
        Ok(Exit::Ok)
    }

    fn outcome(&self, group: &GroupSettings, autoscaling: &Autoscaling, trace: &Trace) -> Result<Outcome> {
        let settings = pondage_operator::scaling_settings(autoscaling)
            .map_err(|refused| Failure::usage(refused.to_string()))?;
        let is_in_order = matches!(group.source, GroupSource::Topics(_)) && group.sharing.is_none();
        let world = World {
            source: if is_in_order { Source::Partitions } else { Source::Queue },
            target_millis: match autoscaling.goal {
                ScalingGoal::Delay { millis, .. } => millis,
                // Nothing was promised: nothing is broken.
                ScalingGoal::Backlog { .. } => u64::MAX,
            },
            replicas: self.replicas.unwrap_or(autoscaling.replicas_min).min(autoscaling.replicas_max),
            start_millis: u64::from(self.start) * 1_000,
            rebalance_millis: u64::from(self.rebalance) * 1_000,
            seed: self.seed,
            series: true,
            ..World::default()
        };
        let mut controller = Controlled::new(settings, Learned::default());
        let outcome = run(trace, &world, &mut controller as &mut dyn Scaler);
        if let Some(last) = controller.last().filter(|last| last.limited_by != LimitedBy::None) {
            super::super::remark(&format!("in the end: {}", last.reason));
        }
        Ok(outcome)
    }

    /// The group that is named, or the only one that is scaled.
    fn group(&self) -> Result<(String, GroupSettings, Autoscaling)> {
        let loaded = files::load(std::slice::from_ref(&self.file))?;
        let groups = loaded.into_iter().filter_map(|loaded| match (loaded.resource, loaded.settings) {
            (Resource::ConsumerGroup(group), Settings::ConsumerGroup(name, settings)) => {
                // What is wrong with it was refused when it was read.
                Some((name.to_string(), settings, group.autoscaling().ok().flatten()))
            }
            _ => None,
        });
        let is_wanted = |name: &str| self.group.as_ref().is_none_or(|wanted| wanted == name);
        let groups: Vec<_> = groups.filter(|(name, ..)| is_wanted(name)).collect();
        let (found, file) = (groups.len(), self.file.display());
        let mut scaled = groups
            .into_iter()
            .filter_map(|(name, settings, autoscaling)| Some((name, settings, autoscaling?)));
        match (scaled.next(), scaled.next()) {
            (Some(only), None) => Ok(only),
            (Some(_), Some(_)) => Err(Failure::usage(format!("{file} has several groups that are scaled"))
                .help("--group says which")),
            (None, _) => Err(Failure::usage(match &self.group {
                Some(wanted) if found == 0 => format!("{file} has no group {wanted}"),
                Some(wanted) => format!("group {wanted} has no autoscaling, or its mode is Disabled"),
                None if found == 0 => format!("{file} has no ConsumerGroup"),
                None => format!("no group of {file} has autoscaling with another mode than Disabled"),
            })),
        }
    }

    fn trace(&self) -> Result<Trace> {
        let text = files::text(&self.trace, TABLE_BYTES_MAX)?;
        trace::read(&text, self.partitions.into(), self.service_rate)
            .map_err(|unreadable| Failure::usage(unreadable.to_string()).about(self.trace.display()))
    }
}

fn as_json(group: String, seconds: usize, outcome: Outcome) -> Result<String> {
    let Outcome { violation_seconds, replica_hours, scale_events, killed_in_flight, series } = outcome;
    let second = |moment: Moment| {
        let Moment { arrived, backlog, oldest_age_millis, replicas, ready } = moment;
        Second { arrived, backlog, oldest_age_millis, replicas, ready }
    };
    let series = series.into_iter().map(second).collect();
    let document =
        Document { group, seconds, violation_seconds, replica_hours, scale_events, killed_in_flight, series };
    let json = serde_json::to_string(&document).map_err(|error| Failure::failed(error.to_string()))?;
    Ok(json + "\n")
}

fn for_people(name: &str, autoscaling: &Autoscaling, outcome: &Outcome) -> String {
    let columns = [
        text("TIME"),
        number("ARRIVING/S"),
        number("BACKLOG"),
        number("OLDEST"),
        number("REPLICAS"),
        number("WORKING"),
    ];
    let series = &outcome.series;
    let span = series.len().div_ceil(ROWS).max(1);
    let rows = series.chunks(span).enumerate().map(|(index, span_of)| {
        let arriving = span_of.iter().map(|moment| moment.arrived).sum::<f64>() / span_of.len() as f64;
        let most = |of: fn(&Moment) -> f64| span_of.iter().map(of).fold(0.0, f64::max);
        let last = span_of.last().copied().unwrap_or_default();
        vec![
            clock(index * span),
            format!("{arriving:.1}"),
            format!("{:.0}", most(|moment| moment.backlog)),
            format!("{:.0}s", most(|moment| moment.oldest_age_millis as f64) / 1_000.0),
            last.replicas.to_string(),
            last.ready.to_string(),
        ]
    });
    let mut text = table(&columns, rows.collect());
    let target = match autoscaling.goal {
        ScalingGoal::Delay { millis, .. } => {
            format!("{} s with a message older than {} s", outcome.violation_seconds, millis as f64 / 1_000.0)
        }
        ScalingGoal::Backlog { per_replica } => format!("{per_replica} messages of backlog for each replica"),
    };
    text.push_str(&format!(
        "\nGroup {name}: {target}; {:.1} replica-hours, {} changes of replicas, {:.0} messages in hands that were killed.\n",
        outcome.replica_hours, outcome.scale_events, outcome.killed_in_flight
    ));
    text
}

/// Hours, minutes and seconds.
fn clock(seconds: usize) -> String {
    format!("{}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const GROUP: &str = "
apiVersion: pondage.io/v1alpha1
kind: Topic
metadata: {name: orders}
spec: {partitions: 12}
---
apiVersion: pondage.io/v1alpha1
kind: ConsumerGroup
metadata: {name: billing}
spec:
  topicRefs: [{name: orders}]
  scaleTargetRef: {name: billing}
  autoscaling: {maxReplicas: 12, target: {delay: 30s}}
---
apiVersion: pondage.io/v1alpha1
kind: ConsumerGroup
metadata: {name: audit}
spec: {topicRefs: [{name: orders}]}
";

    fn command(folder: &tempfile::TempDir, group: Option<&str>, trace: &str) -> Simulate {
        let [file, table] = ["group.yaml", "trace.csv"].map(|name| folder.path().join(name));
        fs::write(&file, GROUP).expect("written");
        fs::write(&table, trace).expect("written");
        Simulate {
            file,
            group: group.map(str::to_owned),
            trace: table,
            partitions: 12,
            service_rate: 10.0,
            start: 12,
            rebalance: 3,
            replicas: None,
            seed: 1,
            output: ResultForm::Text,
        }
    }

    #[test]
    fn a_table_is_run_through() {
        let folder = tempfile::tempdir().expect("a folder");
        let command = command(&folder, Some("billing"), "seconds,rate\n0,5\n600,60\n1800,5\n3600,5\n");
        let (name, group, autoscaling) = command.group().expect("it is there");
        let trace = command.trace().expect("a trace");
        let outcome = command.outcome(&group, &autoscaling, &trace).expect("it runs");
        let at = |second: usize| outcome.series[second].replicas;
        assert_eq!((at(500), at(3_500)), (1, 1));
        assert!((6..=12).contains(&at(1_700)), "{} replicas for 60 messages a second", at(1_700));
        let text = for_people(&name, &autoscaling, &outcome);
        assert!(text.starts_with("TIME") && text.contains("\n0:09:00 "), "{text}");
        assert!(text.contains("Group billing: ") && text.lines().count() <= ROWS + 3, "{text}");
        let json = as_json(name, trace.arrivals.len(), outcome).expect("it is written");
        let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(json["series"].as_array().map(Vec::len), json["seconds"].as_u64().map(|n| n as usize));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let folder = tempfile::tempdir().expect("a folder");
        let said = |group, trace| {
            let command = command(&folder, group, trace);
            command.run().expect_err("it is wrong").message
        };
        assert!(said(None, "").contains("there is nothing"), "the one that is scaled is taken");
        assert!(said(Some("nobody"), "").contains("has no group nobody"));
        assert!(said(Some("audit"), "").contains("has no autoscaling"));
        let said = said(Some("billing"), "seconds,rate\n0,many\n");
        assert!(said.contains("trace.csv") && said.contains("line 2"), "{said}");
    }
}
