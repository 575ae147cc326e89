//! The connection that all commands but `up` share.

use std::time::Duration;

use clap::Args;
use pondage_client::{Client, Options};

use crate::{exit::Result, places::parse_timeout};

/// Where a broker listens unless it is told otherwise.
pub(crate) const SERVER: &str = "http://127.0.0.1:7420";

/// The connect timeout of a command line: somebody waits.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How to reach the broker.
#[derive(Args, Clone, Debug)]
pub(crate) struct Connection {
    /// The address of a broker, or of several with commas between them
    #[arg(long, env = "PONDAGE_SERVER", default_value = SERVER, value_name = "URL", global = true,
          help_heading = "Global options")]
    pub(crate) server: String,

    /// How long a request may take, all its tries included; publishing: how long a message is tried
    #[arg(long, value_name = "DURATION", value_parser = parse_timeout, global = true,
          help_heading = "Global options")]
    pub(crate) timeout: Option<Duration>,
}

impl Connection {
    /// Connects.
    pub(crate) async fn client(&self) -> Result<Client> {
        Ok(Client::connect(&self.server, self.options()).await?)
    }

    fn options(&self) -> Options {
        let defaults = Options::default();
        let deadline = self.timeout.unwrap_or(defaults.deadline);
        Options {
            deadline,
            request_timeout: defaults.request_timeout.min(deadline),
            connect_timeout: CONNECT_TIMEOUT.min(deadline),
            ..defaults
        }
    }
}
