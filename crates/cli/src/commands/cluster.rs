//! `pondage cluster`: the brokers and shards of a cluster, for those who run it.

mod moving;
mod patience;
mod removing;
mod restart;
mod serving;
mod status;

use clap::{Args, Subcommand};
use pondage_client::{BrokerStatus, ClusterStatus};
use pondage_model::{BrokerId, Code, Refusal, ShardId};

use crate::{
    connect::Connection,
    exit::{Exit, Failure, Result},
};

/// See and change the brokers of a cluster
#[derive(Args, Debug)]
pub(crate) struct Cluster {
    #[command(subcommand)]
    command: ClusterCommand,
}

#[derive(Debug, Subcommand)]
enum ClusterCommand {
    Status(status::StatusOf),
    Drain(serving::DrainBroker),
    Restart(restart::Restart),
    Balance(moving::Balance),
    Reassign(moving::Reassign),
    Remove(removing::Remove),
    Lose(removing::Lose),
    ElectUnclean(removing::ElectUnclean),
    RaiseFeatureLevel(serving::RaiseFeatureLevel),
}

impl Cluster {
    pub(crate) async fn run(&self, connection: &Connection) -> Result<Exit> {
        match &self.command {
            ClusterCommand::Status(status) => status.run(connection).await,
            ClusterCommand::Drain(drain) => drain.run(connection).await,
            ClusterCommand::Restart(restart) => restart.run(connection).await,
            ClusterCommand::Balance(balance) => balance.run(connection).await,
            ClusterCommand::Reassign(reassign) => reassign.run(connection).await,
            ClusterCommand::Remove(remove) => remove.run(connection).await,
            ClusterCommand::Lose(lose) => lose.run(connection).await,
            ClusterCommand::ElectUnclean(elect) => elect.run(connection).await,
            ClusterCommand::RaiseFeatureLevel(raise) => raise.run(connection).await,
        }
    }

    pub(crate) fn is_json(&self) -> bool {
        match &self.command {
            ClusterCommand::Status(status) => status.is_json(),
            ClusterCommand::Drain(drain) => drain.is_json(),
            ClusterCommand::Restart(restart) => restart.is_json(),
            ClusterCommand::Balance(balance) => balance.is_json(),
            ClusterCommand::Reassign(reassign) => reassign.is_json(),
            ClusterCommand::Remove(remove) => remove.is_json(),
            ClusterCommand::Lose(lose) => lose.is_json(),
            ClusterCommand::ElectUnclean(elect) => elect.is_json(),
            ClusterCommand::RaiseFeatureLevel(raise) => raise.is_json(),
        }
    }

    pub(crate) const fn changes_something(&self) -> bool {
        // Balancing is the cluster's own doing; the command only looks on.
        !matches!(self.command, ClusterCommand::Status(_) | ClusterCommand::Balance(_))
    }
}

/// The broker's row.
fn broker_in(status: &ClusterStatus, broker: BrokerId) -> Result<&BrokerStatus> {
    let found = status.brokers.iter().find(|found| found.id == broker);
    found.ok_or_else(|| Refusal::NotFound { kind: "broker", name: broker.to_string() }.into())
}

/// Reads a shard's number, also as the commands print it: `shard/4`.
fn parse_shard(text: &str) -> Result<ShardId, String> {
    let number = text.strip_prefix("shard/").unwrap_or(text);
    number.parse().map(ShardId).map_err(|_| {
        "expected a shard's number, such as 4; `pondage cluster status -o wide` lists them".to_owned()
    })
}

/// An order that takes something away for good and was not confirmed.
fn unconfirmed(what: String) -> Failure {
    Failure::usage(what).help("if that is what you want, say --yes")
}

/// A state that stands against an order.
fn conflict(what: String, help: &str) -> Failure {
    let failure = Failure::failed(what).help(help);
    Failure { word: Code::Conflict.as_str().to_owned(), ..failure }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_numbers() {
        for (text, shard) in [
            ("4", Some(4)),
            ("shard/12", Some(12)),
            ("0", Some(0)),
            ("", None),
            ("shard/", None),
            ("-1", None),
        ] {
            assert_eq!(parse_shard(text).ok(), shard.map(ShardId), "{text}");
        }
    }
}
