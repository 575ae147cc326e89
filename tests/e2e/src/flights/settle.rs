//! The workers: they take what the queues give, accept most of it and release some.

use std::sync::Arc;

use anyhow::{Context, Result};
use pondage_client::{Client, ConsumerOptions};
use tokio::{sync::watch, task::JoinSet};

use super::{
    QUEUES,
    chance::Chance,
    dataset::Dataset,
    ledger::{Grant, Ledger},
};

/// Messages that one worker may hold.
const CREDIT: u32 = 500;
/// Of a hundred deliveries, so many are released.
const RELEASED_PERCENT: u64 = 2;

/// Works on one queue until `done`.
pub(crate) async fn work(
    worker: usize,
    client: Client,
    flights: Arc<Dataset>,
    ledger: Arc<Ledger>,
    mut chance: Chance,
    mut done: watch::Receiver<bool>,
) -> Result<()> {
    let queue = worker % QUEUES.len();
    let name = QUEUES[queue].1;
    let options = ConsumerOptions { credit: CREDIT, ..ConsumerOptions::default() };
    let consumer = client.consumer(name, options).await.with_context(|| format!("a consumer of {name}"))?;
    let mut settling = JoinSet::new();
    loop {
        let message = tokio::select! {
            message = consumer.next() => message.with_context(|| format!("consuming {name}"))?,
            _ = done.wait_for(|done| *done) => break,
        };
        let message = message.with_context(|| format!("a consumer of {name} was closed"))?;
        let Some(row) = flights.row_of(message.key.as_ref(), message.value.as_ref()) else {
            ledger.report(format!("{name} gave something at offset {} that is no row", message.offset));
            continue;
        };
        let (offset, lease) = (message.offset, message.token.lease);
        ledger.granted(Grant { row, queue, offset, lease, at: ledger.now() });
        let is_released = chance.percent(RELEASED_PERCENT);
        let ledger = ledger.clone();
        settling.spawn(async move {
            ledger.settle_asked(row);
            let (accepted, answer) = if is_released {
                (None, message.release(None).await)
            } else {
                (Some(lease), message.accept().await)
            };
            ledger.settle_answered(row, accepted, answer);
        });
        while settling.try_join_next().transpose()?.is_some() {}
    }
    while settling.join_next().await.transpose()?.is_some() {}
    consumer.close().await;
    Ok(())
}
