//! `pondage autoscale …`: what the autoscaler would do.

mod simulate;

use clap::{Args, Subcommand};

use crate::exit::{Exit, Result};

/// Try how consumers would be scaled
#[derive(Args, Debug)]
pub(crate) struct Autoscale {
    #[command(subcommand)]
    command: AutoscaleCommand,
}

#[derive(Debug, Subcommand)]
enum AutoscaleCommand {
    Simulate(simulate::Simulate),
}

impl Autoscale {
    pub(crate) fn is_json(&self) -> bool {
        let AutoscaleCommand::Simulate(command) = &self.command;
        command.is_json()
    }

    pub(crate) fn run(&self) -> Result<Exit> {
        let AutoscaleCommand::Simulate(command) = &self.command;
        command.run()
    }
}
