//! `pondage cluster remove`, `lose` and `elect-unclean`: what can't be undone.

use clap::Args;
use pondage_client::{BrokerStatus, ClusterStatus, ShardKind, ShardStatus};
use pondage_model::{BrokerId, Refusal, ShardId};
use serde_json::json;

use super::{broker_in, conflict, parse_shard, unconfirmed};
use crate::{
    commands::{ResultForm, broker::parse_broker, print},
    completion,
    connect::Connection,
    exit::{Exit, Result},
    render::text::counted,
};

/// Forget a broker that holds nothing any more
#[derive(Args, Debug)]
#[command(after_help = "\
A broker that leads or holds shards is refused: drain it first. Its process ends if it still runs, and its volume can't
come back.

Example:
  pondage cluster drain 4 --everything --wait && pondage cluster remove 4")]
pub(super) struct Remove {
    /// The broker
    #[arg(value_name = "BROKER", value_parser = parse_broker, add = completion::brokers())]
    broker: BrokerId,

    /// The form of the result
    #[arg(short, long, value_enum, default_value_t, value_name = "FORM")]
    output: ResultForm,
}

impl Remove {
    pub(super) fn is_json(&self) -> bool {
        self.output == ResultForm::Json
    }

    pub(super) async fn run(&self, connection: &Connection) -> Result<Exit> {
        let client = connection.client().await?;
        let broker = self.broker;
        let status = client.cluster_status().await?;
        let BrokerStatus { led, held, .. } = broker_in(&status, broker)?;
        if *held > 0 {
            let what = format!("broker {broker} leads {led} and holds {held} shards");
            let help = format!("give them away first: pondage cluster drain {broker} --everything --wait");
            return Err(conflict(what, &help));
        }
        client.remove_broker(broker).await?;
        done(
            self.output,
            &format!("broker/{broker} removed"),
            &json!({ "broker": broker.get(), "removed": true }),
        )
    }
}

/// Give up a broker whose volume is lost for good
#[derive(Args, Debug)]
#[command(after_help = "\
What other brokers hold too is copied anew from them. A shard that nobody else was in sync with has lost its data: it
stays without a leader until elect-unclean. The volume can't come back, not even if it turns up again.

Example:
  pondage cluster lose 3 --yes")]
pub(super) struct Lose {
    /// The broker
    #[arg(value_name = "BROKER", value_parser = parse_broker, add = completion::brokers())]
    broker: BrokerId,

    /// Really
    #[arg(long)]
    yes: bool,

    /// The form of the result
    #[arg(short, long, value_enum, default_value_t, value_name = "FORM")]
    output: ResultForm,
}

impl Lose {
    pub(super) fn is_json(&self) -> bool {
        self.output == ResultForm::Json
    }

    pub(super) async fn run(&self, connection: &Connection) -> Result<Exit> {
        let client = connection.client().await?;
        let broker = self.broker;
        let status = client.cluster_status().await?;
        let alone = may_lose(&status, broker)?;
        if !self.yes {
            let what = format!(
                "broker {broker} would be given up for good; {} only it holds everything of would lose data",
                counted(alone, "shard that").replace("thats", "s that")
            );
            return Err(unconfirmed(what));
        }
        client.lose_broker(broker).await?;
        let text = match alone {
            0 => format!("broker/{broker} given up"),
            _ => format!("broker/{broker} given up; {} lost data", counted(alone, "shard")),
        };
        done(self.output, &text, &json!({ "broker": broker.get(), "lost": true, "shardsWithLoss": alone }))
    }
}

/// Shards that lose data with the broker; an error for one that is there.
fn may_lose(status: &ClusterStatus, broker: BrokerId) -> Result<u64> {
    let row = broker_in(status, broker)?;
    if row.is_alive == Some(true) && !row.is_lost {
        let help = "stop it first; one that goes for good is drained and removed instead";
        return Err(conflict(format!("broker {broker} is up: what it holds is not lost"), help));
    }
    let is_alone = |shard: &&ShardStatus| shard.kind != ShardKind::Catalog && shard.in_sync == [broker];
    Ok(status.shards.iter().filter(is_alone).count() as u64)
}

/// Make a replica the leader that may lack acknowledged messages: these are lost
#[derive(Args, Debug)]
#[command(after_help = "\
The last resort, for a shard whose in-sync replicas are all gone for good. The order is kept with its reason.

Example:
  pondage cluster elect-unclean 4 --replica 2 --reason 'disks of 1 and 3 burned' --yes")]
pub(super) struct ElectUnclean {
    /// The shard
    #[arg(value_name = "SHARD", value_parser = parse_shard, add = completion::shards())]
    shard: ShardId,

    /// The replica that shall lead
    #[arg(long, value_name = "BROKER", value_parser = parse_broker, add = completion::brokers())]
    replica: BrokerId,

    /// Why; kept for those who look at the shard later
    #[arg(long, value_name = "TEXT")]
    reason: String,

    /// Really
    #[arg(long)]
    yes: bool,

    /// The form of the result
    #[arg(short, long, value_enum, default_value_t, value_name = "FORM")]
    output: ResultForm,
}

impl ElectUnclean {
    pub(super) fn is_json(&self) -> bool {
        self.output == ResultForm::Json
    }

    pub(super) async fn run(&self, connection: &Connection) -> Result<Exit> {
        let client = connection.client().await?;
        let Self { shard, replica, .. } = *self;
        may_elect(&client.cluster_status().await?, shard, replica)?;
        if !self.yes {
            return Err(unconfirmed(format!(
                "acknowledged messages of shard {shard} that broker {replica} lacks would be lost for good"
            )));
        }
        client.elect_unclean(shard, replica, &self.reason).await?;
        let text = format!("shard/{shard} is led by broker {replica}, by order");
        done(self.output, &text, &json!({ "shard": shard.get(), "leader": replica.get() }))
    }
}

/// Refuses while somebody is there who may hold everything.
fn may_elect(status: &ClusterStatus, shard: ShardId, replica: BrokerId) -> Result<()> {
    let found = status.shards.iter().find(|found| found.id == shard);
    let row = found.ok_or_else(|| Refusal::NotFound { kind: "shard", name: shard.to_string() })?;
    if !row.replicas.contains(&replica) {
        let replicas: Vec<String> = row.replicas.iter().map(ToString::to_string).collect();
        let help = format!("allowed: {}", replicas.join(", "));
        return Err(conflict(format!("broker {replica} holds no copy of shard {shard}"), &help));
    }
    let is_there = |id: &&BrokerId| {
        status
            .brokers
            .iter()
            .any(|broker| broker.id == **id && !broker.is_lost && broker.is_alive == Some(true))
    };
    if let Some(holder) = row.in_sync.iter().find(is_there) {
        let what = format!("broker {holder} is up and holds every acknowledged message of shard {shard}");
        return Err(conflict(what, "wait until it is elected; nothing has to be lost"));
    }
    Ok(())
}

fn done(form: ResultForm, text: &str, object: &serde_json::Value) -> Result<Exit> {
    print(&match form {
        ResultForm::Text => format!("{text}\n"),
        ResultForm::Json => format!("{object}\n"),
    })?;
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pondage_model::{Epoch, Revision};

    fn cluster(is_alive: Option<bool>, in_sync: &[u32]) -> ClusterStatus {
        let ids = |ids: &[u32]| ids.iter().copied().map(BrokerId).collect::<Vec<_>>();
        let broker = |id, is_alive| BrokerStatus { id: BrokerId(id), is_alive, ..BrokerStatus::default() };
        ClusterStatus {
            uuid: None,
            broker: BrokerId(1),
            version: String::new(),
            is_stale: false,
            revision: Revision(1),
            feature_level: 1,
            feature_level_possible: None,
            catalog_leader: None,
            catalog_epoch: Epoch(1),
            voters: Vec::new(),
            brokers: vec![broker(1, Some(true)), broker(2, is_alive)],
            shards: vec![ShardStatus {
                id: ShardId(4),
                replicas: ids(&[1, 2]),
                in_sync: ids(in_sync),
                ..ShardStatus::default()
            }],
        }
    }

    #[test]
    fn a_broker_that_is_up_is_not_given_up() {
        for (is_alive, in_sync, expected) in [
            (Some(false), &[2][..], Some(1)),
            (Some(false), &[1, 2], Some(0)),
            (None, &[1], Some(0)),
            (Some(true), &[1], None),
        ] {
            assert_eq!(may_lose(&cluster(is_alive, in_sync), BrokerId(2)).ok(), expected);
        }
        let unknown = may_lose(&cluster(None, &[]), BrokerId(9)).expect_err("unknown");
        assert_eq!(unknown.exit, Exit::NotFound);
    }

    #[test]
    fn nothing_is_lost_that_somebody_holds() {
        let elect = |is_alive, in_sync: &[u32], replica| {
            may_elect(&cluster(is_alive, in_sync), ShardId(4), BrokerId(replica))
                .err()
                .map(|failure| failure.message)
        };
        assert_eq!(elect(Some(false), &[2], 1), None);
        assert_eq!(elect(Some(false), &[], 1), None);
        let there = elect(Some(true), &[2], 1).expect("refused");
        assert_eq!(there, "broker 2 is up and holds every acknowledged message of shard 4");
        assert_eq!(elect(None, &[2], 9).expect("refused"), "broker 9 holds no copy of shard 4");
        let unknown = may_elect(&cluster(None, &[]), ShardId(5), BrokerId(1)).expect_err("unknown");
        assert_eq!(unknown.exit, Exit::NotFound);
    }
}
