//! `pondage cluster balance` and `reassign`: where copies and leaderships are.

use std::time::Duration;

use clap::Args;
use pondage_client::{ClusterStatus, ShardStatus};
use pondage_model::{BrokerId, Refusal, ShardId};
use serde_json::json;

use super::{
    parse_shard,
    patience::{Reached, wait_for},
};
use crate::{
    commands::{ResultForm, broker::parse_broker, print},
    completion,
    connect::Connection,
    exit::{Exit, Result},
    places::parse_timeout,
    render::cluster,
};

/// Wait until leaderships and copies are spread evenly
#[derive(Args, Debug)]
#[command(after_help = "\
A cluster spreads leaderships and copies by itself, a few at a time. This waits until nothing is left to move, or with
--dry-run only says what comes next.

Examples:
  pondage cluster balance --dry-run
  pondage cluster balance --wait-timeout 1h")]
pub(super) struct Balance {
    /// Only say what is moved next
    #[arg(long)]
    dry_run: bool,

    /// How long to wait
    #[arg(long, value_name = "DURATION", value_parser = parse_timeout, default_value = "10m")]
    wait_timeout: Duration,

    /// The form of the result
    #[arg(short, long, value_enum, default_value_t, value_name = "FORM")]
    output: ResultForm,
}

impl Balance {
    pub(super) fn is_json(&self) -> bool {
        self.output == ResultForm::Json
    }

    pub(super) async fn run(&self, connection: &Connection) -> Result<Exit> {
        let client = connection.client().await?;
        if !self.dry_run {
            let asked = client.clone();
            wait_for(&client, self.wait_timeout, async |status| {
                let plan = asked.plan_moves().await?;
                let next = cluster::plan(&plan);
                let moving = status.shards.iter().filter(|shard| is_moving(shard)).count() as u64;
                Ok(match next.first() {
                    None if moving == 0 => Reached::Done,
                    None => Reached::Left(moving, format!("{moving} shards copy to other brokers")),
                    Some(first) => Reached::Left(moving + next.len() as u64, first.clone()),
                })
            })
            .await?;
        }
        let plan = client.plan_moves().await?;
        print(&match self.output {
            ResultForm::Json => format!("{}\n", cluster::plan_json(&plan)),
            ResultForm::Text if plan.is_empty() => "nothing to move\n".to_owned(),
            ResultForm::Text => cluster::plan(&plan).into_iter().map(|line| line + "\n").collect(),
        })?;
        Ok(Exit::Ok)
    }
}

fn is_moving(shard: &ShardStatus) -> bool {
    !shard.leaving.is_empty()
}

/// Move a shard's copies to other brokers
#[derive(Args, Debug)]
#[command(after_help = "\
As many brokers are named as the shard has copies; the first one leads by preference. New copies are made before old
ones go. The cluster may move them again later if that spreads copies more evenly, or over more racks.

Example:
  pondage cluster reassign 4 --to 2,3,5 --wait")]
pub(super) struct Reassign {
    /// The shard
    #[arg(value_name = "SHARD", value_parser = parse_shard, add = completion::shards())]
    shard: ShardId,

    /// The brokers that shall hold it
    #[arg(long, value_name = "BROKERS", value_parser = parse_broker, value_delimiter = ',', required = true,
          add = completion::brokers())]
    to: Vec<BrokerId>,

    /// End when the copies are where they shall be
    #[arg(long)]
    wait: bool,

    /// How long to wait for that
    #[arg(long, value_name = "DURATION", value_parser = parse_timeout, default_value = "10m", requires = "wait")]
    wait_timeout: Duration,

    /// The form of the result
    #[arg(short, long, value_enum, default_value_t, value_name = "FORM")]
    output: ResultForm,
}

impl Reassign {
    pub(super) fn is_json(&self) -> bool {
        self.output == ResultForm::Json
    }

    pub(super) async fn run(&self, connection: &Connection) -> Result<Exit> {
        let client = connection.client().await?;
        client.reassign(self.shard, &self.to).await?;
        if self.wait {
            wait_for(&client, self.wait_timeout, async |status| self.reached(status)).await?;
        }
        let brokers: Vec<String> = self.to.iter().map(ToString::to_string).collect();
        let ids: Vec<u32> = self.to.iter().map(|broker| broker.get()).collect();
        print(&match self.output {
            ResultForm::Text if self.wait => format!("shard/{} is on {}\n", self.shard, brokers.join(", ")),
            ResultForm::Text => format!("shard/{} goes to {}\n", self.shard, brokers.join(", ")),
            ResultForm::Json => {
                format!("{}\n", json!({ "shard": self.shard.get(), "replicas": ids, "done": self.wait }))
            }
        })?;
        Ok(Exit::Ok)
    }

    fn reached(&self, status: &ClusterStatus) -> Result<Reached> {
        let found = status.shards.iter().find(|found| found.id == self.shard);
        let row = found.ok_or_else(|| Refusal::NotFound { kind: "shard", name: self.shard.to_string() })?;
        let lacks = self.to.iter().filter(|broker| !row.in_sync.contains(broker)).count();
        let left = (lacks + row.leaving.len()) as u64;
        Ok(if left == 0 && !status.is_stale {
            Reached::Done
        } else {
            let leaving = row.leaving.len();
            Reached::Left(left, format!("shard {}: {lacks} copies to be made, {leaving} to go", self.shard))
        })
    }
}
