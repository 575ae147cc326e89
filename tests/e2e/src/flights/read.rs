//! Readers of the topic: one follows it during the run, one reads it all at the end.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use pondage_client::{Client, ReaderOptions, TopicEvent, TopicMessage};
use pondage_model::Offset;

use super::{TOPIC, dataset::Dataset, ledger::Ledger};

/// What a reader saw of a topic: by partition, offsets and rows in the order in which they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) partitions: Vec<Vec<(Offset, usize)>>,
}

impl Seen {
    fn push(&mut self, partition: u32, offset: Offset, row: usize) {
        let partition = partition as usize;
        if self.partitions.len() <= partition {
            self.partitions.resize(partition + 1, Vec::new());
        }
        self.partitions[partition].push((offset, row));
    }

    /// How many messages.
    pub(crate) fn count(&self) -> usize {
        self.partitions.iter().map(Vec::len).sum()
    }
}

/// Follows the topic until it is dropped, through every loss of the connection.
pub(crate) async fn follow(
    client: Client,
    flights: Arc<Dataset>,
    ledger: Arc<Ledger>,
    seen: Arc<Mutex<Seen>>,
) -> Result<()> {
    let reader = client.reader(TOPIC, ReaderOptions::default()).await.context("a reader")?;
    loop {
        let message = reader.next_message().await.context("following the topic")?;
        let message = message.context("the reader that follows the topic was closed")?;
        if let Some(row) = row_of(&message, &flights, &ledger) {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.push(message.partition, message.offset, row);
        }
    }
}

/// Reads every partition from its first message to its end.
pub(crate) async fn read_all(
    client: &Client,
    flights: &Dataset,
    ledger: &Ledger,
    partitions: u32,
) -> Result<Seen> {
    let reader = client.reader(TOPIC, ReaderOptions::default()).await.context("a reader")?;
    let mut seen = Seen::default();
    let mut caught_up = 0;
    while caught_up < partitions {
        match reader.next().await.context("reading the topic")?.context("the reader was closed")? {
            TopicEvent::Message(message) => {
                if let Some(row) = row_of(&message, flights, ledger) {
                    seen.push(message.partition, message.offset, row);
                }
            }
            TopicEvent::CaughtUp { .. } => caught_up += 1,
        }
    }
    reader.close().await;
    ensure!(seen.partitions.len() <= partitions as usize, "messages of a partition that is not there");
    Ok(seen)
}

fn row_of(message: &TopicMessage, flights: &Dataset, ledger: &Ledger) -> Option<usize> {
    let row = flights.row_of(message.key.as_ref(), message.value.as_ref());
    if row.is_none() {
        let TopicMessage { partition, offset, .. } = message;
        ledger.report(format!("partition {partition} of the topic holds no row at offset {offset}"));
    }
    row
}
