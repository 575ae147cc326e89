//! The producers: each sends its rows in the order of the file, to the topic and to the queue of the origin.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use pondage_client::{Client, Message, Publisher, PublisherOptions};
use tokio::{sync::Semaphore, time::sleep};

use super::{PRODUCERS, QUEUES, TOPIC, dataset::Dataset, ledger::Ledger};

/// Rows of one producer that may be on their way.
const ROWS_ON_THE_WAY: usize = 2_000;
/// How far the producers may be ahead of the workers, in rows: what keeps both busy at once until the end.
const ROWS_AHEAD: u64 = 20_000;

/// Sends all rows of one producer, in sessions of its own.
pub(crate) async fn produce(
    producer: usize,
    client: Client,
    flights: Arc<Dataset>,
    ledger: Arc<Ledger>,
) -> Result<()> {
    let topic = client.publisher(TOPIC, PublisherOptions::default()).await.context("a publisher")?;
    let mut queues = Vec::new();
    for (_, queue) in QUEUES {
        queues.push(client.publisher(queue, PublisherOptions::default()).await.context("a publisher")?);
    }
    let on_the_way = Arc::new(Semaphore::new(ROWS_ON_THE_WAY));
    for (index, row) in flights.rows.iter().enumerate().skip(producer).step_by(PRODUCERS) {
        while is_far_ahead(&ledger) || !ledger.is_released(index) {
            sleep(Duration::from_millis(1)).await;
        }
        let permit = on_the_way.clone().acquire_owned().await?;
        let message = Message::new(row.line.clone()).key(row.carrier.clone());
        ledger.sending(&ledger.rows[index].topic);
        let to_topic = send(&topic, message.clone()).await?;
        ledger.sending(&ledger.rows[index].queue);
        let to_queue = send(&queues[row.queue], message).await?;
        let ledger = ledger.clone();
        tokio::spawn(async move {
            let topic = async { ledger.topic_answered(index, to_topic.await) };
            let queue = async { ledger.queue_answered(index, to_queue.await) };
            tokio::join!(topic, queue);
            drop(permit);
        });
    }
    // The last rows are on their way as long as their permits are out.
    drop(on_the_way.acquire_many(u32::try_from(ROWS_ON_THE_WAY)?).await?);
    Ok(())
}

async fn send(publisher: &Publisher, message: Message) -> Result<pondage_client::Sending> {
    publisher.send(message).await.context("a publisher takes no more messages")
}

fn is_far_ahead(ledger: &Ledger) -> bool {
    let progress = ledger.progress();
    progress.queue_acked > progress.settled + ROWS_AHEAD
}
