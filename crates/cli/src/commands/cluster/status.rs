//! `pondage cluster status`.

use std::{io::IsTerminal, time::Duration};

use clap::{Args, ValueEnum};
use pondage_client::{Client, ClusterStatus, troubles};
use tokio::time::sleep;

use crate::{
    commands::{CLEAR, print},
    connect::Connection,
    exit::{Exit, Result},
    render::cluster,
    signals::Signals,
};

/// The time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Show the brokers and shards: is everything led, and copied as it should be?
#[derive(Args, Debug)]
#[command(after_help = "\
It is answered also while the catalog has no leader: then it is what the asked broker knew last, and says so.

Examples:
  pondage cluster status
  pondage cluster status -o wide --watch
  pondage cluster status --check || echo 'not well'
  pondage cluster status -o json | jq '.shards[] | select(.state != \"well\")'")]
pub(super) struct StatusOf {
    /// The form of the result
    #[arg(short, long, value_enum, default_value_t, value_name = "FORM")]
    output: StatusForm,

    /// Show it again whenever it changed, until Ctrl-C
    #[arg(short, long)]
    watch: bool,

    /// End with code 1 unless everything is as it should be
    #[arg(long, conflicts_with = "watch")]
    check: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, ValueEnum)]
enum StatusForm {
    /// The brokers, and what is wrong
    #[default]
    Text,
    /// The shards too
    Wide,
    /// JSON for programs
    Json,
}

impl StatusOf {
    pub(super) fn is_json(&self) -> bool {
        self.output == StatusForm::Json
    }

    pub(super) async fn run(&self, connection: &Connection) -> Result<Exit> {
        let client = connection.client().await?;
        if self.watch {
            let mut signals = Signals::new()?;
            return tokio::select! {
                exit = signals.next() => Ok(exit),
                ended = self.watch(&client) => ended,
            };
        }
        let status = client.cluster_status().await?;
        print(&self.text(&status))?;
        let is_well = troubles(&status).is_empty();
        Ok(if self.check && !is_well { Exit::Failed } else { Exit::Ok })
    }

    async fn watch(&self, client: &Client) -> Result<Exit> {
        let clears = !self.is_json() && std::io::stdout().is_terminal();
        let mut shown = String::new();
        loop {
            match client.cluster_status().await {
                Ok(status) => {
                    let text = self.text(&status);
                    if text != shown {
                        let between = if shown.is_empty() || self.is_json() { "" } else { "---\n" };
                        print(&format!("{}{text}", if clears { CLEAR } else { between }))?;
                        shown = text;
                    }
                }
                Err(error) if error.retriable() => {}
                Err(error) => return Err(error.into()),
            }
            sleep(LOOK_EVERY).await;
        }
    }

    fn text(&self, status: &ClusterStatus) -> String {
        match self.output {
            StatusForm::Text => cluster::status(status, false),
            StatusForm::Wide => cluster::status(status, true),
            StatusForm::Json => format!("{}\n", cluster::status_json(status)),
        }
    }
}
