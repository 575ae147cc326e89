//! `pondage browse`.

use std::io::{BufWriter, IsTerminal, Write};

use clap::Args;
use pondage_client::{BrowseRange, Browsed, Client, TopicMessage};
use pondage_model::{Name, Offset};

use super::remark;
use crate::{
    completion,
    connect::Connection,
    exit::{Exit, Failure, Result},
    places::chosen,
    render::{
        message::{MessageForm, Shown},
        text::counted,
    },
};

/// Look at the messages of a queue or topic without taking them
#[derive(Args, Debug)]
#[command(after_help = "\
A queue's messages show their state: ready, leased, scheduled, moving (to the dead-letter queue) or expired.

Examples:
  pondage browse orders-dead
  pondage browse flights --partition 2 --from 1200 --limit 5
  pondage browse orders --limit 0 -o json | jq 'select(.state == \"scheduled\")'")]
pub(crate) struct Browse {
    /// A topic or queue
    #[arg(value_name = "TARGET", add = completion::targets())]
    target: Name,

    /// Only this partition of the topic; may be given more than once
    #[arg(long = "partition", value_name = "N")]
    partitions: Vec<u32>,

    /// The first offset, in each partition
    #[arg(long, value_name = "OFFSET", default_value_t = 0)]
    from: u64,

    /// Messages at most; 0: all that are there now
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
    limit: u64,

    /// The form of the messages
    #[arg(short, long, value_enum, default_value_t, value_name = "FORM")]
    output: MessageForm,
}

impl Browse {
    pub(crate) fn is_json(&self) -> bool {
        self.output == MessageForm::Json
    }

    pub(crate) async fn run(&self, connection: &Connection) -> Result<Exit> {
        let client = connection.client().await?;
        let location = client.locate(self.target.as_str()).await?;
        if !location.is_topic && !self.partitions.is_empty() {
            return Err(Failure::usage(format!("--partition: {} is a queue and has none", self.target)));
        }
        let partitions = chosen(&self.partitions, location.partitions)?;
        let mut left = if self.limit == 0 { u64::MAX } else { self.limit };
        let mut shown = 0;
        for partition in partitions {
            if left == 0 {
                break;
            }
            let count = self.show(&client, partition, location.is_topic, left).await?;
            left -= count;
            shown += count;
        }
        if std::io::stderr().is_terminal() {
            let more = if left == 0 { "; there may be more: --limit 0 shows all" } else { "" };
            remark(&format!("{}{more}", counted(shown, "message")));
        }
        Ok(Exit::Ok)
    }

    /// Shows at most `limit` messages of a partition, and says how many there were.
    async fn show(&self, client: &Client, partition: u32, is_topic: bool, limit: u64) -> Result<u64> {
        let range = BrowseRange {
            partition,
            from: Offset(self.from),
            messages_max: if limit == u64::MAX { 0 } else { limit },
            bytes_max: 0,
        };
        let mut browsing = client.browse(self.target.as_str(), range).await?;
        let to_terminal = std::io::stdout().is_terminal();
        let mut shown = 0;
        while let Some(batch) = browsing.next().await? {
            let mut out = BufWriter::new(std::io::stdout().lock());
            for Browsed { message, run } in &batch {
                if shown == limit {
                    break;
                }
                self.shown(message, is_topic, run).write(&mut out, self.output, to_terminal)?;
                shown += 1;
            }
            out.flush()?;
        }
        Ok(shown)
    }

    fn shown<'a>(
        &'a self,
        message: &'a TopicMessage,
        is_topic: bool,
        run: &pondage_client::MessageRun,
    ) -> Shown<'a> {
        let shown = Shown::read(self.target.as_str(), is_topic, message);
        if is_topic { shown } else { Shown { run: Some(*run), ..shown } }
    }
}
