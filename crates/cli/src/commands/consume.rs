//! `pondage consume`.

mod exec;
mod intake;
mod options;
mod queue;
mod topic;

use clap::Args;
use pondage_client::ResourceKind;
use pondage_client::StartAt;
use pondage_model::{Name, limits};
use std::time::Duration;

pub(crate) use options::Settle;

use crate::{
    completion,
    connect::Connection,
    exit::{Exit, Result},
    places::{parse_duration, parse_start},
    render::message::MessageForm,
};

/// Take messages from a queue, or read a topic
#[derive(Args, Debug)]
#[command(after_help = "\
A queue's message is settled once it is printed, or its command ended; a topic's group commits likewise. Ctrl-C gives
back what is not settled. Without --limit and --until-end it goes on with messages as they come.

--exec runs CMD by sh with the body on stdin and, in the environment, PONDAGE_TARGET, PONDAGE_PARTITION,
PONDAGE_OFFSET, PONDAGE_KEY, PONDAGE_TIMESTAMP, PONDAGE_ATTEMPT, PONDAGE_TOKEN and PONDAGE_HEADER_<NAME>. Exit code 0
accepts, any other releases; the lease is renewed while it runs. On a topic any other ends the command.

Examples:
  pondage consume orders --limit 1
  pondage consume orders --exec ./work.sh --concurrency 8
  pondage consume orders-dead --until-end -o json > dead.ndjson
  pondage consume flights --from -15m                       # everybody reads all of it
  pondage consume flights --group departures-board -o value")]
pub(crate) struct Consume {
    /// A topic or queue
    #[arg(value_name = "TARGET", add = completion::targets())]
    pub(crate) target: Name,

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
    #[arg(long, value_enum, value_name = "VERDICT", conflicts_with = "exec", help_heading = "Queues")]
    pub(crate) settle: Option<Settle>,

    /// How long a message may take; default: the queue's ackTimeout
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, help_heading = "Queues")]
    pub(crate) lease: Option<Duration>,

    /// Read for this consumer group: begin where it stands, and commit
    #[arg(short, long, value_name = "GROUP", add = completion::names_of(ResourceKind::Group), help_heading = "Topics")]
    pub(crate) group: Option<Name>,

    /// Where to begin: earliest, latest, an offset, a time (2026-01-31T10:00:00Z) or a time ago (-15m). In a group only
    /// where it has not been yet
    #[arg(long, value_name = "PLACE", value_parser = parse_start, allow_hyphen_values = true, help_heading = "Topics")]
    pub(crate) from: Option<StartAt>,

    /// Only this partition; may be given more than once
    #[arg(long = "partition", value_name = "N", help_heading = "Topics")]
    pub(crate) partitions: Vec<u32>,

    /// Run CMD for each message instead of printing it
    #[arg(short, long, value_name = "CMD", help_heading = "Commands")]
    pub(crate) exec: Option<String>,

    /// Commands that run at once; queues
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
        let location = client.locate(self.target.as_str()).await?;
        if location.is_topic {
            self.check_topic()?;
            topic::consume(self, &client, location.partitions).await
        } else {
            self.check_queue()?;
            queue::consume(self, &client).await
        }
    }
}
