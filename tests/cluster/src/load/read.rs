//! Readers of the topic.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use pondage_client::{ReaderOptions, StartAt, TopicEvent, TopicMessage};
use pondage_history::{Client as Who, Observation};
use pondage_model::Offset;
use tokio::{sync::watch, time::sleep};

use super::{PARTITIONS, Shared, TOPIC, content, partition_stream};

/// How long to wait before a new reader is tried.
const AGAIN: Duration = Duration::from_millis(100);

/// Follows the topic until told to stop; a reader that ends is followed by another, which goes on where it was.
pub(super) async fn follow(shared: Arc<Shared>, mut stop: watch::Receiver<bool>) -> Result<()> {
    let mut next = vec![Offset(0); PARTITIONS as usize];
    while !*stop.borrow() {
        let starts = (0..).zip(&next).map(|(partition, offset)| (partition, StartAt::Offset(*offset)));
        let options = ReaderOptions {
            starts: starts.collect(),
            start: Some(StartAt::Offset(Offset(0))),
            ..ReaderOptions::default()
        };
        let opened = async { Ok::<_, anyhow::Error>(shared.connect().await?.reader(TOPIC, options).await?) };
        let Ok(reader) = opened.await else {
            sleep(AGAIN).await;
            continue;
        };
        let who = begin(&shared, &next);
        loop {
            let message = tokio::select! {
                message = reader.next_message() => message,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            let Ok(Some(message)) = message else { break };
            saw(&shared, who, &message);
            next[message.partition as usize] = message.offset.next();
        }
    }
    Ok(())
}

/// Reads every partition from its first message to its end.
pub(super) async fn read_all(shared: Arc<Shared>) -> Result<()> {
    let client = shared.connect().await?;
    let options = ReaderOptions { start: Some(StartAt::Offset(Offset(0))), ..ReaderOptions::default() };
    let reader = client.reader(TOPIC, options).await.context("a reader of everything")?;
    let who = begin(&shared, &vec![Offset(0); PARTITIONS as usize]);
    let mut caught_up = 0;
    while caught_up < PARTITIONS {
        match reader.next().await?.context("the reader of everything was closed")? {
            TopicEvent::Message(message) => saw(&shared, who, &message),
            TopicEvent::CaughtUp { partition, .. } => {
                caught_up += 1;
                shared.recorder.saw(who, Observation::End { stream: partition_stream(partition) });
            }
        }
    }
    reader.close().await;
    Ok(())
}

fn begin(shared: &Shared, next: &[Offset]) -> Who {
    let who = shared.recorder.client();
    for (partition, offset) in (0..).zip(next) {
        shared.recorder.saw(who, Observation::From { stream: partition_stream(partition), offset: *offset });
    }
    who
}

fn saw(shared: &Shared, who: Who, message: &TopicMessage) {
    let TopicMessage { partition, offset, .. } = *message;
    match content::identify(message.key.as_ref(), message.value.as_ref()) {
        Some(id) => {
            let stream = partition_stream(partition);
            shared.recorder.saw(who, Observation::Read { stream, offset, message: id });
        }
        None => {
            let problem =
                format!("partition {partition} holds something at offset {offset} that nobody published");
            shared.recorder.problem(problem);
        }
    }
}
