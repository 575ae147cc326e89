//! Structured logs of a broker, on stderr.

use std::{backtrace::Backtrace, io::IsTerminal, panic};

use clap::{Args, ValueEnum};
use tracing_subscriber::{EnvFilter, filter::ParseError};

use crate::exit::{Failure, Result};

/// The form of the logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum LogFormat {
    /// One line for people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

impl LogFormat {
    /// The word that the command line takes.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// What a process that stays says of its logs.
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// The form of the logs on stderr
    #[arg(long, value_enum, default_value_t, value_name = "FORM", env = "PONDAGE_LOG_FORMAT")]
    pub(crate) log_format: LogFormat,

    /// What is logged: a level, or directives such as info,pondage_broker=debug [default: warn as text, info as JSON]
    #[arg(long, value_name = "LEVEL", env = "RUST_LOG")]
    pub(crate) log_level: Option<String>,
}

impl Logs {
    /// Starts logging.
    pub(crate) fn start(&self) -> Result<()> {
        start(self.log_format, self.log_level.as_deref())
    }
}

/// `filter` is a level, or directives as `RUST_LOG` takes them; without it people see what needs their attention, and
/// programs that collect logs the rest as well.
fn start(format: LogFormat, filter: Option<&str>) -> Result<()> {
    let usual = match format {
        LogFormat::Text => "warn",
        LogFormat::Json => "info",
    };
    let filter = parse(filter.unwrap_or(usual)).map_err(|error| {
        Failure::usage(format!("--log-level: {error}")).help(
            "write a level (error, warn, info, debug, trace) or directives such as info,pondage_broker=debug",
        )
    })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| Failure::failed(format!("logging: {error}")))?;
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
        let message = info.payload_as_str().unwrap_or("no message");
        let backtrace = Backtrace::capture();
        tracing::error!(%place, %thread, %backtrace, "panic: {message}");
    }));
    Ok(())
}

/// The consensus library says three lines per heartbeat that does not get through; who is linked with whom is said by
/// the brokers themselves. It speaks if it is asked to by name.
fn parse(filter: &str) -> Result<EnvFilter, ParseError> {
    const QUIET: &str = "openraft";
    let quiet = if filter.contains(QUIET) { filter.to_owned() } else { format!("{QUIET}=off,{filter}") };
    EnvFilter::builder().parse(quiet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_directives() {
        for (filter, is_fine) in
            [("info", true), ("info,pondage_broker=debug", true), ("", true), ("pondage=loud", false)]
        {
            assert_eq!(parse(filter).is_ok(), is_fine, "{filter:?}");
        }
    }

    #[test]
    fn the_consensus_library_speaks_only_if_it_is_named() {
        let quiet = parse("info").expect("a filter").to_string();
        assert!(quiet.contains("openraft=off") && quiet.contains("info"), "{quiet}");
        let asked = parse("info,openraft=debug").expect("a filter").to_string();
        assert!(asked.contains("openraft=debug") && !asked.contains("off"), "{asked}");
    }
}
