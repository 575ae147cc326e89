//! `pondage cluster drain` and `raise-feature-level`: what brokers serve.

use std::time::Duration;

use clap::Args;
use pondage_client::{ClusterStatus, Drain, ShardKind};
use pondage_model::BrokerId;
use serde_json::json;

use super::{
    broker_in, conflict,
    patience::{Reached, wait_for},
};
use crate::{
    commands::{ResultForm, broker::parse_broker, print},
    completion,
    connect::Connection,
    exit::{Exit, Result},
    places::parse_timeout,
};

/// Let a broker give away what it leads, or everything
#[derive(Args, Debug)]
#[command(after_help = "\
A drained broker leads nothing, so that it can be stopped without anybody noticing. With --everything its copies go to
other brokers too; once it holds none it can be removed. The order is kept, also over restarts, until --undo.

Examples:
  pondage cluster drain 2 --wait                 # before its machine is maintained
  pondage cluster drain 2 --undo
  pondage cluster drain 4 --everything --wait && pondage cluster remove 4")]
pub(super) struct DrainBroker {
    /// The broker
    #[arg(value_name = "BROKER", value_parser = parse_broker, add = completion::brokers())]
    broker: BrokerId,

    /// Its copies too, because it goes for good
    #[arg(long, conflicts_with = "undo")]
    everything: bool,

    /// It takes leaderships and copies again
    #[arg(long)]
    undo: bool,

    /// Also if it can't be carried out as things stand: it is done once it can
    #[arg(long, conflicts_with = "undo")]
    force: bool,

    /// End when it is done
    #[arg(long, conflicts_with = "undo")]
    wait: bool,

    /// How long to wait for that
    #[arg(long, value_name = "DURATION", value_parser = parse_timeout, default_value = "10m", requires = "wait")]
    wait_timeout: Duration,

    /// The form of the result
    #[arg(short, long, value_enum, default_value_t, value_name = "FORM")]
    output: ResultForm,
}

impl DrainBroker {
    pub(super) fn is_json(&self) -> bool {
        self.output == ResultForm::Json
    }

    fn drain(&self) -> Drain {
        match (self.undo, self.everything) {
            (true, _) => Drain::Nothing,
            (_, true) => Drain::Everything,
            _ => Drain::Leadership,
        }
    }

    pub(super) async fn run(&self, connection: &Connection) -> Result<Exit> {
        let client = connection.client().await?;
        let (broker, drain) = (self.broker, self.drain());
        client.drain(broker, drain, self.force).await?;
        if self.wait {
            wait_for(&client, self.wait_timeout, async |status| reached(status, broker, drain)).await?;
        }
        let left = left(&client.cluster_status().await?, broker, drain)?;
        print(&match self.output {
            ResultForm::Json => {
                let object = json!({
                    "broker": broker.get(),
                    "drain": drain.as_str(),
                    "done": left == 0,
                    "shardsLeft": left,
                });
                format!("{object}\n")
            }
            ResultForm::Text => match (drain, left) {
                (Drain::Nothing, _) => format!("broker/{broker} takes leaderships and copies\n"),
                (_, 0) => format!("broker/{broker} drained ({})\n", drain.as_str()),
                (_, left) => {
                    format!("broker/{broker} drains ({}), {}\n", drain.as_str(), remaining(drain, left))
                }
            },
        })?;
        Ok(Exit::Ok)
    }
}

/// Shards that the broker still has to give away.
fn left(status: &ClusterStatus, broker: BrokerId, drain: Drain) -> Result<u64> {
    let row = broker_in(status, broker)?;
    // The catalog's leadership moves by its own election when the broker stops.
    let leads =
        status.shards.iter().filter(|shard| shard.kind != ShardKind::Catalog && shard.leader == Some(broker));
    Ok(match drain {
        Drain::Nothing => 0,
        Drain::Leadership => leads.count() as u64,
        Drain::Everything => row.held.into(),
    })
}

fn reached(status: &ClusterStatus, broker: BrokerId, drain: Drain) -> Result<Reached> {
    if broker_in(status, broker)?.drain != drain && !status.is_stale {
        return Err(conflict(format!("broker {broker} was ordered otherwise meanwhile"), "order it again"));
    }
    Ok(match left(status, broker, drain)? {
        0 if !status.is_stale => Reached::Done,
        left => Reached::Left(left, format!("broker {broker}: {}", remaining(drain, left))),
    })
}

fn remaining(drain: Drain, left: u64) -> String {
    let what = crate::render::text::counted(left, if drain == Drain::Everything { "copy" } else { "shard" });
    match drain {
        Drain::Everything => format!("{} to give away", what.replace("copys", "copies")),
        _ => format!("{what} to hand over"),
    }
}

/// Let brokers write what only the newest version reads, once every broker runs it
#[derive(Args, Debug)]
#[command(after_help = "\
It never falls again: from then on no broker goes back to the version before.

Example:
  pondage cluster raise-feature-level")]
pub(super) struct RaiseFeatureLevel {
    /// The level [default: the highest that every broker supports]
    #[arg(value_name = "LEVEL")]
    level: Option<u32>,

    /// The form of the result
    #[arg(short, long, value_enum, default_value_t, value_name = "FORM")]
    output: ResultForm,
}

impl RaiseFeatureLevel {
    pub(super) fn is_json(&self) -> bool {
        self.output == ResultForm::Json
    }

    pub(super) async fn run(&self, connection: &Connection) -> Result<Exit> {
        let client = connection.client().await?;
        let status = client.cluster_status().await?;
        let before = status.feature_level;
        let level = self.level.or(status.feature_level_possible).unwrap_or(before);
        if level != before {
            client.set_feature_level(level).await?;
        }
        print(&match self.output {
            ResultForm::Json => format!("{}\n", json!({ "before": before, "featureLevel": level })),
            ResultForm::Text if level == before => format!("feature level {level} already\n"),
            ResultForm::Text => format!("feature level {before} -> {level}\n"),
        })?;
        Ok(Exit::Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_said_in_words() {
        for (drain, left, expected) in [
            (Drain::Leadership, 1, "1 shard to hand over"),
            (Drain::Leadership, 12, "12 shards to hand over"),
            (Drain::Everything, 1, "1 copy to give away"),
            (Drain::Everything, 3, "3 copies to give away"),
        ] {
            assert_eq!(remaining(drain, left), expected);
        }
    }
}
