//! The command line as a whole.

use clap::{Parser, Subcommand};

use crate::{
    commands::{
        apply, autoscale, broker, browse, cluster, completion, consume, crds, delete, describe, get, groups,
        operator, publish, purge, stats, up, version,
    },
    connect::Connection,
    exit::{EXIT_CODES, Exit, Result},
    render::error::ErrorForm,
};

/// Pondage: a queue platform that never loses an acknowledged message.
#[derive(Debug, Parser)]
#[command(
    name = "pondage",
    version = version::SHORT,
    long_version = version::LONG,
    about,
    subcommand_required = true,
    max_term_width = 110,
    after_help = after_help(),
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) connection: Connection,

    #[command(subcommand)]
    pub(crate) command: Command,
}

const START: &str = "\
Start here:
  pondage up -f deploy/quickstart.yaml           # a broker with a topic and two queues
  echo '{\"order\": 17}' | pondage publish orders  # in a second terminal
  pondage consume orders --limit 1";

fn after_help() -> String {
    format!("{START}\n\n{EXIT_CODES}")
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Up(up::Up),
    #[command(name = "broker")]
    Broker(Box<broker::BrokerCommand>),
    Cluster(cluster::Cluster),
    #[command(name = "operator")]
    Operator(operator::OperatorCommand),
    Apply(apply::Apply),
    Get(get::Get),
    Describe(describe::Describe),
    Delete(delete::Delete),
    Publish(publish::Publish),
    Consume(consume::Consume),
    Browse(browse::Browse),
    Purge(purge::Purge),
    Groups(groups::Groups),
    Stats(stats::Stats),
    Top(stats::Top),
    Autoscale(autoscale::Autoscale),
    Crds(crds::Crds),
    Completion(completion::Completion),
    Version(version::Version),
}

impl Cli {
    /// Does what the command line says.
    pub(crate) async fn run(self) -> Result<Exit> {
        let connection = &self.connection;
        match self.command {
            Command::Up(up) => Box::pin(up.run()).await,
            Command::Broker(broker) => Box::pin(broker.run()).await,
            Command::Cluster(cluster) => Box::pin(cluster.run(connection)).await,
            Command::Operator(operator) => Box::pin(operator.run()).await,
            Command::Apply(apply) => Box::pin(apply.run(connection)).await,
            Command::Get(get) => Box::pin(get.run(connection)).await,
            Command::Describe(describe) => Box::pin(describe.run(connection)).await,
            Command::Delete(delete) => Box::pin(delete.run(connection)).await,
            Command::Publish(publish) => Box::pin(publish.run(connection)).await,
            Command::Consume(consume) => Box::pin(consume.run(connection)).await,
            Command::Browse(browse) => Box::pin(browse.run(connection)).await,
            Command::Purge(purge) => Box::pin(purge.run(connection)).await,
            Command::Groups(groups) => Box::pin(groups.run(connection)).await,
            Command::Stats(stats) => Box::pin(stats.run(connection)).await,
            Command::Top(top) => Box::pin(top.run(connection)).await,
            Command::Autoscale(autoscale) => Box::pin(autoscale.run(connection)).await,
            Command::Crds(crds) => Box::pin(crds.run(connection)).await,
            Command::Completion(completion) => completion.run(),
            Command::Version(version) => version.run(),
        }
    }
}

impl Command {
    /// How errors are written: for programs where the output is.
    pub(crate) fn error_form(&self) -> ErrorForm {
        let is_json = match self {
            Self::Cluster(cluster) => cluster.is_json(),
            Self::Apply(apply) => apply.is_json(),
            Self::Get(get) => get.is_json(),
            Self::Describe(describe) => describe.is_json(),
            Self::Delete(delete) => delete.is_json(),
            Self::Publish(publish) => publish.is_json(),
            Self::Consume(consume) => consume.is_json(),
            Self::Browse(browse) => browse.is_json(),
            Self::Purge(purge) => purge.is_json(),
            Self::Groups(groups) => groups.is_json(),
            Self::Stats(stats) => stats.is_json(),
            Self::Autoscale(autoscale) => autoscale.is_json(),
            Self::Crds(crds) => crds.is_json(),
            Self::Version(version) => version.is_json(),
            Self::Up(_) | Self::Broker(_) | Self::Operator(_) | Self::Top(_) | Self::Completion(_) => false,
        };
        if is_json { ErrorForm::Json } else { ErrorForm::Text }
    }

    /// Whether it asks a broker to change something, so that an outcome can be unknown.
    pub(crate) fn changes_something(&self) -> bool {
        match self {
            Self::Up(_)
            | Self::Broker(_)
            | Self::Operator(_)
            | Self::Apply(_)
            | Self::Delete(_)
            | Self::Publish(_)
            | Self::Consume(_)
            | Self::Purge(_) => true,
            Self::Cluster(cluster) => cluster.changes_something(),
            Self::Groups(groups) => groups.changes_something(),
            Self::Crds(crds) => crds.changes_something(),
            Self::Get(_)
            | Self::Describe(_)
            | Self::Browse(_)
            | Self::Autoscale(_)
            | Self::Stats(_)
            | Self::Top(_)
            | Self::Completion(_)
            | Self::Version(_) => false,
        }
    }
}

#[cfg(test)]
#[path = "args_tests.rs"]
mod tests;
