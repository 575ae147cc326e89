//! One file per command.

pub(crate) mod apply;
pub(crate) mod autoscale;
pub(crate) mod broker;
pub(crate) mod browse;
pub(crate) mod cluster;
pub(crate) mod completion;
pub(crate) mod consume;
pub(crate) mod crds;
pub(crate) mod delete;
pub(crate) mod describe;
pub(crate) mod get;
pub(crate) mod groups;
pub(crate) mod operator;
pub(crate) mod publish;
pub(crate) mod purge;
pub(crate) mod stats;
pub(crate) mod up;
pub(crate) mod version;
mod views;
mod watch;

use std::io::Write;

use clap::ValueEnum;

use crate::exit::Result;

/// Clears a terminal and goes to its upper left corner.
pub(crate) const CLEAR: &str = "\u{1b}[2J\u{1b}[H";

/// Prints to stdout. A closed pipe is an error here and ends the command quietly.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Says something beside the result, to people. That nobody listens is no failure.
pub(crate) fn remark(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// The form of short results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum ResultForm {
    /// Lines for people
    #[default]
    Text,
    /// JSON for programs
    Json,
}
