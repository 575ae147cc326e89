//! `pondage groups`.

use clap::{Args, Subcommand, ValueEnum};
use pondage_client::{Client, ResourceKind, Settings, StartAt};
use pondage_model::{Name, Offset, settings::GroupSource};

use super::{describe::described, print, remark, views};
use crate::{
    completion,
    connect::Connection,
    exit::{Exit, Failure, Result},
    places::{chosen, parse_start},
    render::{document, rows, text::counted},
};

/// Consumer groups: who their members are, how far behind they are, and moving them
#[derive(Args, Debug)]
pub(crate) struct Groups {
    #[command(subcommand)]
    command: GroupsCommand,
}

#[derive(Debug, Subcommand)]
enum GroupsCommand {
    List(List),
    Describe(One),
    Members(Members),
    ResetOffsets(ResetOffsets),
}

/// Show all groups: what they read, how many members they have and how far behind they are
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pondage groups list
  pondage groups list -o json | jq '.items[] | {name: .metadata.name, lag: .status.lag}'")]
struct List {
    /// The form of the result
    #[arg(short, long, value_enum, default_value_t, value_name = "FORM")]
    output: Form,
}

/// Show everything about a group: settings, members, and where it stands in each partition
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pondage groups describe departures-board
  pondage groups describe departures-board -o json | jq .status.lag")]
struct One {
    /// The consumer group
    #[arg(value_name = "GROUP", add = completion::names_of(ResourceKind::Group))]
    group: Name,

    /// The form of the result
    #[arg(short, long, value_enum, default_value_t, value_name = "FORM")]
    output: Form,
}

/// Show who reads for a group, and which partitions each of them owns
#[derive(Args, Debug)]
#[command(after_help = "\
A member that is AWAY has lost its connection: it keeps its partitions until its session times out. AWAITED counts
partitions that it is to own once another member let go of them.

Examples:
  pondage groups members departures-board
  pondage groups members departures-board -o json | jq -r '.members[].instance'")]
struct Members {
    /// The consumer group
    #[arg(value_name = "GROUP", add = completion::names_of(ResourceKind::Group))]
    group: Name,

    /// The form of the result
    #[arg(short, long, value_enum, default_value_t, value_name = "FORM")]
    output: Form,
}

/// Move a group's cursors. Members go on from there: what they have not committed by then does not count
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pondage groups reset-offsets departures-board --to earliest --dry-run    # what would happen?
  pondage groups reset-offsets departures-board --to earliest              # read everything again
  pondage groups reset-offsets departures-board flights --to -1h           # the last hour
  pondage groups reset-offsets departures-board flights --to 1200 --partition 3")]
struct ResetOffsets {
    /// The consumer group
    #[arg(value_name = "GROUP", add = completion::names_of(ResourceKind::Group))]
    group: Name,

    /// Only in this topic
    #[arg(value_name = "TOPIC", add = completion::names_of(ResourceKind::Topic))]
    topic: Option<Name>,

    /// Where to: earliest, latest, an offset, a time (2026-01-31T10:00:00Z) or a time ago (-15m)
    #[arg(long, value_name = "PLACE", value_parser = parse_start, allow_hyphen_values = true, required = true)]
    to: StartAt,

    /// Only this partition; may be given more than once
    #[arg(long = "partition", value_name = "N", requires = "topic")]
    partitions: Vec<u32>,

    /// Show where the cursors would be, and move nothing
    #[arg(long)]
    dry_run: bool,

    /// The form of the result
    #[arg(short, long, value_enum, default_value_t, value_name = "FORM")]
    output: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, ValueEnum)]
enum Form {
    /// For people
    #[default]
    Table,
    /// JSON
    Json,
}

impl Groups {
    pub(crate) fn is_json(&self) -> bool {
        let form = match &self.command {
            GroupsCommand::List(list) => list.output,
            GroupsCommand::Describe(one) => one.output,
            GroupsCommand::Members(members) => members.output,
            GroupsCommand::ResetOffsets(reset) => reset.output,
        };
        form == Form::Json
    }

    pub(crate) fn changes_something(&self) -> bool {
        matches!(&self.command, GroupsCommand::ResetOffsets(reset) if !reset.dry_run)
    }

    pub(crate) async fn run(&self, connection: &Connection) -> Result<Exit> {
        let client = connection.client().await?;
        let text = match &self.command {
            GroupsCommand::List(list) => list.run(&client).await?,
            GroupsCommand::Describe(one) => one.run(&client).await?,
            GroupsCommand::Members(members) => members.run(&client).await?,
            GroupsCommand::ResetOffsets(reset) => reset.run(&client).await?,
        };
        print(&text)?;
        Ok(Exit::Ok)
    }
}

impl List {
    async fn run(&self, client: &Client) -> Result<String> {
        let groups = views::list(client, ResourceKind::Group).await?;
        match self.output {
            Form::Json => document::json_list(&groups),
            Form::Table if groups.is_empty() => {
                remark("no groups yet; `pondage apply -f FILE` creates them");
                Ok(String::new())
            }
            Form::Table => Ok(rows::resources(ResourceKind::Group, &groups, false)),
        }
    }
}

impl One {
    async fn run(&self, client: &Client) -> Result<String> {
        let view = views::get(client, ResourceKind::Group, self.group.as_str()).await?;
        match self.output {
            Form::Json => document::json(&view),
            Form::Table => described(ResourceKind::Group, &view),
        }
    }
}

impl Members {
    async fn run(&self, client: &Client) -> Result<String> {
        let membership = client.get_members(self.group.as_str()).await?;
        match self.output {
            Form::Json => document::membership_json(&self.group, &membership),
            Form::Table if membership.members.is_empty() => {
                remark(&format!("group {} has no members", self.group));
                Ok(String::new())
            }
            Form::Table => Ok(rows::members(&membership.members)),
        }
    }
}

impl ResetOffsets {
    async fn run(&self, client: &Client) -> Result<String> {
        let group = self.group.as_str();
        let topics = self.topics(client).await?;
        let mut moves = Vec::new();
        // Nothing moves unless all can.
        for topic in &topics {
            moves.push((topic.clone(), self.reset(client, topic, true).await?));
        }
        if !self.dry_run {
            moves.clear();
            for topic in &topics {
                moves.push((topic.clone(), self.reset(client, topic, false).await?));
            }
        }
        if !self.dry_run {
            let members = client.get_members(group).await.map_or(0, |membership| membership.members.len());
            if members > 0 {
                let members = counted(members as u64, "member");
                remark(&format!("group {group} goes on from there, with {members}"));
            }
        }
        match self.output {
            Form::Json => document::moves_json(group, &moves, self.dry_run),
            Form::Table => Ok(rows::moves(&moves)),
        }
    }

    /// The topics that are meant: the one that is named, else all that the group reads.
    async fn topics(&self, client: &Client) -> Result<Vec<Name>> {
        let resource = client.get(ResourceKind::Group, self.group.as_str()).await?;
        let Settings::Group(settings) = &resource.settings else { return Ok(Vec::new()) };
        match (&settings.source, &self.topic) {
            (GroupSource::Queue(queue), _) => {
                let failure =
                    Failure::usage(format!("group {} reads queue {queue}, which has no cursors", self.group));
                Err(failure.help(format!("`pondage purge {queue}` discards what waits in it")))
            }
            (GroupSource::Topics(topics), None) => Ok(topics.clone()),
            (GroupSource::Topics(topics), Some(topic)) if topics.contains(topic) => Ok(vec![topic.clone()]),
            (GroupSource::Topics(topics), Some(topic)) => {
                let names: Vec<_> = topics.iter().map(Name::as_str).collect();
                let text =
                    format!("group {} does not read {topic}; it reads {}", self.group, names.join(", "));
                Err(Failure::usage(text))
            }
        }
    }

    /// Moves the cursors in a topic: where each was, and where it is.
    async fn reset(
        &self,
        client: &Client,
        topic: &Name,
        dry_run: bool,
    ) -> Result<Vec<(Option<Offset>, Place)>> {
        let (group, topic) = (self.group.as_str(), topic.as_str());
        let before = client.get_offsets(group, topic).await?;
        let count = u32::try_from(before.len()).unwrap_or(u32::MAX);
        let seeks: Vec<_> =
            chosen(&self.partitions, count)?.into_iter().map(|partition| (partition, self.to)).collect();
        let after = if dry_run {
            client.try_offsets(group, topic, &seeks).await?
        } else {
            client.set_offsets(group, topic, &seeks).await?
        };
        let was = |partition| before.iter().find(|place| place.partition == partition)?.committed;
        Ok(after.into_iter().map(|place| (was(place.partition), place)).collect())
    }
}

type Place = pondage_client::GroupPartition;
