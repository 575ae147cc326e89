//! `pondage consume`.

mod exec;
mod group;
mod intake;
mod options;
mod queue;
mod topic;

use clap::Args;
use pondage_client::{Client, ResourceKind, Settings, ShareSource, StartAt};
use pondage_model::{Name, limits, settings::GroupSource};
use std::time::Duration;

pub(crate) use options::Settle;

use crate::{
    completion,
    connect::Connection,
    exit::{Exit, Failure, Result},
    places::{parse_duration, parse_start},
    render::message::MessageForm,
};

/// Take messages from a queue, or read a topic
#[derive(Args, Debug)]
#[command(after_help = "\
A queue's message is settled once it is printed, or its command ended, and so is a message of a shared group; other
groups of topics commit likewise. Ctrl-C gives back what is not settled. Without --limit and --until-end it goes on with messages as they come.

--exec runs CMD by sh with the body on stdin and, in the environment, PONDAGE_TARGET, PONDAGE_PARTITION,
PONDAGE_OFFSET, PONDAGE_KEY, PONDAGE_TIMESTAMP, PONDAGE_ATTEMPT, PONDAGE_TOKEN and PONDAGE_HEADER_<NAME>. Exit code 0
accepts, any other releases; the lease is renewed while it runs. On a topic, without a shared group, any other ends it.

Examples:
  pondage consume orders --limit 1
  pondage consume orders --exec ./work.sh --concurrency 8
  pondage consume orders-dead --until-end -o json > dead.ndjson
  pondage consume flights --from -15m                       # everybody reads all of it
  pondage consume --group departures-board -o value         # the members of a group share it")]
pub(crate) struct Consume {
    /// A topic or queue
    #[arg(value_name = "TARGET", required_unless_present = "group", add = completion::targets())]
    pub(crate) target: Option<Name>,

    /// End after so many messages
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Until when")]
    pub(crate) limit: Option<u64>,

    /// End where there is nothing more to deliver now
    #[arg(long, help_heading = "Until when")]
    pub(crate) until_end: bool,

    /// Go on with messages as they come; the default without --limit and --until-end
    #[arg(short, long, conflicts_with = "until_end", help_heading = "Until when")]
    pub(crate) follow: bool,

    /// What becomes of printed messages [default: accept]
    #[arg(
        long,
        value_enum,
        value_name = "VERDICT",
        conflicts_with = "exec",
        help_heading = "Queues, shared groups"
    )]
    pub(crate) settle: Option<Settle>,

    /// How long a message may take; default: the ackTimeout of the queue or shared group
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, help_heading = "Queues, shared groups")]
    pub(crate) lease: Option<Duration>,

    /// Join this consumer group, which shares its partitions, or its messages, out to its members: begin where it stands
    #[arg(short, long, value_name = "GROUP", add = completion::names_of(ResourceKind::Group), help_heading = "Groups")]
    pub(crate) group: Option<Name>,

    /// What the group knows this consumer by [default: the name of its pod or machine]
    #[arg(long, value_name = "NAME", requires = "group", help_heading = "Groups")]
    pub(crate) member: Option<String>,

    /// Where to begin: earliest, latest, an offset, a time (2026-01-31T10:00:00Z) or a time ago (-15m)
    #[arg(long, value_name = "PLACE", value_parser = parse_start, allow_hyphen_values = true, help_heading = "Topics")]
    pub(crate) from: Option<StartAt>,

    /// Only this partition; may be given more than once
    #[arg(long = "partition", value_name = "N", help_heading = "Topics")]
    pub(crate) partitions: Vec<u32>,

    /// Run CMD for each message instead of printing it
    #[arg(short, long, value_name = "CMD", help_heading = "Commands")]
    pub(crate) exec: Option<String>,

    /// Commands that run at once; queues and shared groups
    #[arg(long, value_name = "N", requires = "exec", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=limits::CREDIT_MAX as i64), help_heading = "Commands")]
    pub(crate) concurrency: u32,

    /// The form of the messages
    #[arg(short, long, value_enum, default_value_t, value_name = "FORM")]
    pub(crate) output: MessageForm,

    /// Print no summary
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

impl Consume {
    pub(crate) fn is_json(&self) -> bool {
        self.output == MessageForm::Json
    }

    pub(crate) async fn run(&self, connection: &Connection) -> Result<Exit> {
        let client = connection.client().await?;
        match (&self.group, &self.target) {
            (Some(group), _) => self.join(&client, group).await,
            (None, Some(target)) => {
                let location = client.locate(target.as_str()).await?;
                if location.is_topic {
                    self.check_topic(&format!("{target} is a topic"))?;
                    topic::consume(self, &client, target, location.partitions).await
                } else {
                    self.check_queue(target)?;
                    queue::consume(self, &client, queue::From::Queue(target), limits::CREDIT_MAX).await
                }
            }
            (None, None) => Err(Failure::usage("which topic or queue?")),
        }
    }

    /// Consumes for a group, whatever that reads.
    async fn join(&self, client: &Client, group: &Name) -> Result<Exit> {
        match &self.source(client, group).await? {
            (GroupSource::Topics(topics), true) => {
                self.check_shared(group, topics)?;
                queue::consume(self, client, queue::From::Group(group, topics), limits::CREDIT_MAX).await
            }
            (GroupSource::Topics(topics), false) => {
                self.check_group(group, topics)?;
                group::consume(self, client, group, topics).await
            }
            (GroupSource::Queue(queue), _) => {
                if self.target.as_ref().is_some_and(|target| target != queue) {
                    return Err(Failure::usage(format!("group {group} consumes queue {queue}")));
                }
                self.check_queue(queue)?;
                let mut attendance = client.attend(group.as_str(), &self.member())?;
                let share = attendance.share().await?;
                if share.source != ShareSource::Queue(queue.clone()) {
                    drop(attendance.leave().await);
                    return Err(Failure::usage(format!("group {group} does not consume queue {queue}")));
                }
                let consumed = tokio::select! {
                    consumed = queue::consume(self, client, queue::From::Queue(queue), share.in_flight_max) => consumed,
                    // Such as when the group is deleted. What is not settled goes back.
                    ended = attendance.ended() => {
                        let ended_itself = || Failure::failed(format!("group {group} knows this consumer no more"));
                        return Err(ended.err().map_or_else(ended_itself, Failure::from));
                    }
                };
                // Whether the group heard of it or not, the messages have their verdicts.
                drop(attendance.leave().await);
                consumed
            }
        }
    }

    /// What a group reads, and whether it is shared. Settings are for administrators, and a consumer needs no certificate: it
    /// says what it expects, which is compared with what the group says.
    async fn source(&self, client: &Client, group: &Name) -> Result<(GroupSource, bool)> {
        let resource = match client.get(ResourceKind::Group, group.as_str()).await {
            Ok(resource) => resource,
            Err(error) if error.code() == "NOT_AUTHORIZED" => {
                let Some(target) = &self.target else {
                    return Err(Failure::from(error)
                        .help(format!("name what the group reads: pondage consume TARGET --group {group}")));
                };
                if !client.locate(target.as_str()).await?.is_topic {
                    return Ok((GroupSource::Queue(target.clone()), false));
                }
                // It is refused if the group does not read it.
                let places = client.get_offsets(group.as_str(), target.as_str()).await?;
                let is_shared = places.iter().any(|place| place.shared.is_some());
                return Ok((GroupSource::Topics(vec![target.clone()]), is_shared));
            }
            Err(error) => return Err(error.into()),
        };
        match resource.settings {
            Settings::Group(settings) => Ok((settings.source, settings.sharing.is_some())),
            _ => Err(Failure::failed(format!("{group} is no group"))),
        }
    }

    /// What a group knows this consumer by: what it says, its pod, or its machine.
    fn member(&self) -> String {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let kernel = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
        let host = || variable("POD_NAME").or_else(|| variable("HOSTNAME")).or_else(kernel);
        self.member.clone().or_else(host).map(|name| name.trim().to_owned()).unwrap_or_default()
    }
}
