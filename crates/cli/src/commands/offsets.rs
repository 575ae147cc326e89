//! `pondage offsets`.

use clap::{Args, Subcommand, ValueEnum};
use pondage_client::{ResourceKind, StartAt};
use pondage_model::{Name, limits};

use super::{print, views};
use crate::{
    completion,
    connect::Connection,
    exit::{Exit, Failure, Result},
    places::parse_start,
    render::{
        document::{self, TopicPlaces},
        rows,
    },
};

/// Show and move the cursors of consumer groups
#[derive(Args, Debug)]
pub(crate) struct Offsets {
    #[command(subcommand)]
    command: OffsetsCommand,
}

#[derive(Debug, Subcommand)]
enum OffsetsCommand {
    Get(GetOffsets),
    Set(SetOffsets),
}

/// Show where a group stands in its topics, and how far it is behind
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pondage offsets get departures-board
  pondage offsets get departures-board flights -o json")]
struct GetOffsets {
    /// The consumer group
    #[arg(value_name = "GROUP", add = completion::names_of(ResourceKind::Group))]
    group: Name,

    /// Only in this topic
    #[arg(value_name = "TOPIC", add = completion::names_of(ResourceKind::Topic))]
    topic: Option<Name>,

    /// The form of the result
    #[arg(short, long, value_enum, default_value_t, value_name = "FORM")]
    output: OffsetsForm,
}

/// Move a group's cursors. Consumers that own the partitions are fenced: they stop
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pondage offsets set departures-board flights --to earliest          # read everything again
  pondage offsets set departures-board flights --to -1h               # the last hour
  pondage offsets set departures-board flights --to 1200 --partition 3")]
struct SetOffsets {
    /// The consumer group
    #[arg(value_name = "GROUP", add = completion::names_of(ResourceKind::Group))]
    group: Name,

    /// The topic
    #[arg(value_name = "TOPIC", add = completion::names_of(ResourceKind::Topic))]
    topic: Name,

    /// Where to: earliest, latest, an offset, a time (2026-01-31T10:00:00Z) or a time ago (-15m)
    #[arg(long, value_name = "PLACE", value_parser = parse_start, allow_hyphen_values = true, required = true)]
    to: StartAt,

    /// Only this partition; may be given more than once
    #[arg(long = "partition", value_name = "N")]
    partitions: Vec<u32>,

    /// The form of the result
    #[arg(short, long, value_enum, default_value_t, value_name = "FORM")]
    output: OffsetsForm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, ValueEnum)]
enum OffsetsForm {
    /// A table
    #[default]
    Table,
    /// JSON
    Json,
}

impl Offsets {
    pub(crate) fn is_json(&self) -> bool {
        let form = match &self.command {
            OffsetsCommand::Get(get) => get.output,
            OffsetsCommand::Set(set) => set.output,
        };
        form == OffsetsForm::Json
    }

    pub(crate) fn changes_something(&self) -> bool {
        matches!(self.command, OffsetsCommand::Set(_))
    }

    pub(crate) async fn run(&self, connection: &Connection) -> Result<Exit> {
        let client = connection.client().await?;
        let (group, places, form) = match &self.command {
            OffsetsCommand::Get(get) => {
                let group = get.group.as_str();
                let places = match &get.topic {
                    Some(topic) => {
                        vec![(topic.clone(), client.get_offsets(group, topic.as_str()).await?)]
                    }
                    None => views::group_places(&client, group).await?,
                };
                if places.is_empty() {
                    return Err(Failure::failed(format!(
                        "group {group} reads a queue, which has no cursors"
                    ))
                    .help(format!("pondage get group {group} shows its lag")));
                }
                (group, places, get.output)
            }
            OffsetsCommand::Set(set) => {
                let (group, topic) = (set.group.as_str(), set.topic.as_str());
                let location = client.locate(topic).await?;
                if !location.is_topic {
                    return Err(Failure::usage(format!("{topic} is a queue; queues have no cursors")));
                }
                let partitions = chosen(&set.partitions, location.partitions)?;
                let seeks: Vec<_> = partitions.into_iter().map(|partition| (partition, set.to)).collect();
                let moved = client.set_offsets(group, topic, &seeks).await?;
                (group, vec![(set.topic.clone(), moved)], set.output)
            }
        };
        print(&render(group, &places, form)?)?;
        Ok(Exit::Ok)
    }
}

/// The partitions that are meant: those that are named, else all.
pub(crate) fn chosen(named: &[u32], partitions: u32) -> Result<Vec<u32>> {
    debug_assert!(partitions <= limits::PARTITIONS_MAX, "the client bounds it");
    if named.is_empty() {
        return Ok((0..partitions).collect());
    }
    let mut chosen = named.to_vec();
    chosen.sort_unstable();
    chosen.dedup();
    match chosen.iter().find(|partition| **partition >= partitions) {
        None => Ok(chosen),
        Some(partition) => {
            let last = partitions.saturating_sub(1);
            Err(Failure::usage(format!("--partition {partition}: there is none; allowed: 0 to {last}")))
        }
    }
}

fn render(group: &str, places: &[TopicPlaces], form: OffsetsForm) -> Result<String> {
    match form {
        OffsetsForm::Table => Ok(rows::places(places)),
        OffsetsForm::Json => document::places_json(group, places),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_partitions_must_be_there() {
        for (named, expected) in [
            (&[][..], Some(vec![0, 1, 2])),
            (&[2, 0, 2], Some(vec![0, 2])),
            (&[3], None),
            (&[0, u32::MAX], None),
        ] {
            assert_eq!(chosen(named, 3).ok(), expected, "{named:?}");
        }
    }
}
