//! `pondage autoscale …`: what the autoscaler does, and would do.

mod explain;
mod simulate;

use clap::{Args, Subcommand};

use crate::{
    connect::Connection,
    exit::{Exit, Result},
};

/// See why consumers are scaled as they are, and try how they would be
#[derive(Args, Debug)]
pub(crate) struct Autoscale {
    #[command(subcommand)]
    command: AutoscaleCommand,
}

#[derive(Debug, Subcommand)]
enum AutoscaleCommand {
    Explain(explain::Explain),
    Simulate(simulate::Simulate),
}

impl Autoscale {
    pub(crate) fn is_json(&self) -> bool {
        match &self.command {
            AutoscaleCommand::Explain(command) => command.is_json(),
            AutoscaleCommand::Simulate(command) => command.is_json(),
        }
    }

    pub(crate) async fn run(&self, connection: &Connection) -> Result<Exit> {
        match &self.command {
            AutoscaleCommand::Explain(command) => command.run(connection.timeout).await,
            AutoscaleCommand::Simulate(command) => command.run(),
        }
    }
}
