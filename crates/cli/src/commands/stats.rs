//! `pondage stats` and `pondage top`: how much comes and goes.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use clap::{Args, ValueEnum};
use pondage_client::{Client, ResourceKind};
use tokio::time::sleep;

use super::{CLEAR, print, remark, views};
use crate::{
    connect::Connection,
    exit::{Exit, Failure, Result},
    kinds::{KindArg, KindWord},
    places::parse_timeout,
    render::{
        activity::{Activity, Look, Order, between, shown},
        text,
    },
    signals::Signals,
};

/// Show how many messages a second come to queues, topics and groups and leave them, and what waits
#[derive(Args, Debug)]
#[command(after_help = "\
IN/S and OUT/S are of the time between two looks: messages stored, and messages settled (queues) or committed (groups).

Examples:
  pondage stats
  pondage stats queues --sort oldest --interval 5s
  pondage stats -o json | jq '.items[] | select(.backlog > 1000)'")]
pub(crate) struct Stats {
    /// Only of this kind: topics, queues or groups
    #[arg(value_name = "KIND", default_value = "all", add = crate::completion::kinds())]
    kind: KindArg,

    /// The time between the two looks
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = parse_timeout)]
    interval: Duration,

    /// What stands first
    #[arg(long, value_enum, default_value_t = Order::Name, value_name = "ORDER")]
    sort: Order,

    /// The form of the result
    #[arg(short, long, value_enum, default_value_t, value_name = "FORM")]
    output: StatsForm,
}

/// Watch the busiest queues, topics and groups, until Ctrl-C
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pondage top                              # where most waits
  pondage top groups --sort oldest
  pondage top -n 3 --interval 10s | tee -a load.txt")]
pub(crate) struct Top {
    /// Only of this kind: topics, queues or groups
    #[arg(value_name = "KIND", default_value = "all", add = crate::completion::kinds())]
    kind: KindArg,

    /// The time between two pictures
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = parse_timeout)]
    interval: Duration,

    /// What stands first
    #[arg(long, value_enum, default_value_t, value_name = "ORDER")]
    sort: Order,

    /// Rows that are shown
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..))]
    rows: u16,

    /// End after so many pictures
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, ValueEnum)]
enum StatsForm {
    /// A table
    #[default]
    Table,
    /// JSON
    Json,
}

impl Stats {
    pub(crate) fn is_json(&self) -> bool {
        self.output == StatsForm::Json
    }

    pub(crate) async fn run(&self, connection: &Connection) -> Result<Exit> {
        let client = connection.client().await?;
        let mut looks = Looks::new(&client, &self.kind, self.sort)?;
        let mut signals = Signals::new()?;
        let (activities, elapsed) = tokio::select! {
            exit = signals.next() => return Ok(exit),
            seen = async {
                looks.next().await?;
                sleep(self.interval).await;
                looks.next().await
            } => seen?,
        };
        print(&match self.output {
            StatsForm::Table => shown(&activities, usize::MAX),
            StatsForm::Json => {
                let document =
                    serde_json::json!({ "intervalMillis": elapsed.as_millis() as u64, "items": activities });
                format!("{document:#}\n")
            }
        })?;
        Ok(Exit::Ok)
    }
}

impl Top {
    pub(crate) async fn run(&self, connection: &Connection) -> Result<Exit> {
        let client = connection.client().await?;
        let mut looks = Looks::new(&client, &self.kind, self.sort)?;
        let mut signals = Signals::new()?;
        tokio::select! {
            exit = signals.next() => Ok(exit),
            ended = self.watch(&mut looks) => ended,
        }
    }

    async fn watch(&self, looks: &mut Looks<'_>) -> Result<Exit> {
        let clears = std::io::stdout().is_terminal();
        looks.next().await?;
        let mut left = self.count.unwrap_or(u64::MAX);
        while left > 0 {
            sleep(self.interval).await;
            match looks.next().await {
                Ok((activities, _)) => {
                    let table = shown(&activities, self.rows.into());
                    print(&if clears { format!("{CLEAR}{table}") } else { format!("{table}\n") })?;
                    left -= 1;
                }
                // Brokers and their leaderships come and go; what was there is still to be seen.
                Err(failure) => remark(&text::shown(failure.message.as_bytes(), text::Lines::One)),
            }
        }
        Ok(Exit::Ok)
    }
}

/// Looks at resources, one after the other.
struct Looks<'a> {
    client: &'a Client,
    kinds: Vec<ResourceKind>,
    order: Order,
    before: Vec<Look>,
    at: Instant,
}

impl<'a> Looks<'a> {
    fn new(client: &'a Client, kind: &KindArg, order: Order) -> Result<Self> {
        if kind.name.is_some() || kind.kind == KindWord::Cluster {
            return Err(Failure::usage("allowed: topics, queues, groups, all"));
        }
        let kinds = kind.kind.kinds();
        Ok(Self { client, kinds, order, before: Vec::new(), at: Instant::now() })
    }

    /// What happened since the last look, and how long that was.
    async fn next(&mut self) -> Result<(Vec<Activity>, Duration)> {
        let now = Instant::now();
        let mut looks = Vec::new();
        for kind in &self.kinds {
            looks.extend(views::list(self.client, *kind).await?.iter().filter_map(Look::at));
        }
        let elapsed = now - std::mem::replace(&mut self.at, now);
        let before = std::mem::replace(&mut self.before, looks.clone());
        Ok((between(&before, looks, elapsed, self.order), elapsed))
    }
}
