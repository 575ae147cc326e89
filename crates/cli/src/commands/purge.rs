//! `pondage purge`.

use clap::Args;
use pondage_client::ResourceKind;
use pondage_model::Name;
use serde_json::json;

use super::{ResultForm, print};
use crate::{
    completion,
    connect::Connection,
    exit::{Exit, Failure, Result},
    render::text::counted,
};

/// Settle every message that a queue holds now, leased ones included, without delivering it
#[derive(Args, Debug)]
#[command(after_help = "\
The messages are gone for good. What is published meanwhile stays.

Example:
  pondage purge orders-dead")]
pub(crate) struct Purge {
    /// The queue
    #[arg(value_name = "QUEUE", add = completion::names_of(ResourceKind::Queue))]
    queue: Name,

    /// The form of the result
    #[arg(short, long, value_enum, default_value_t, value_name = "FORM")]
    output: ResultForm,
}

impl Purge {
    pub(crate) fn is_json(&self) -> bool {
        self.output == ResultForm::Json
    }

    pub(crate) async fn run(&self, connection: &Connection) -> Result<Exit> {
        let client = connection.client().await?;
        let queue = self.queue.as_str();
        if client.locate(queue).await?.is_topic {
            return Err(Failure::usage(format!("{queue} is a topic; purge is for queues"))
                .help("a topic's messages go by its retention, or with the topic: pondage delete topic"));
        }
        let messages = client.purge(queue).await?;
        print(&match self.output {
            ResultForm::Text => format!("{} purged from {queue}\n", counted(messages, "message")),
            ResultForm::Json => format!("{}\n", json!({ "queue": queue, "messages": messages })),
        })?;
        Ok(Exit::Ok)
    }
}
