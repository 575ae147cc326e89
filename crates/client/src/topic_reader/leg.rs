//! One stream of a reader: partitions that the same broker leads.

use std::collections::BTreeSet;

use pondage_protocol::{consume::Source, v1};
use tokio::{sync::mpsc, task::AbortHandle};
use v1::consume_response::Step as Response;

use crate::{
    Client, ClientError,
    brokers::Broker,
    consume_stream::{ConsumeStream, lost, next},
};

/// Never the same number for another leg of a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LegId(pub(super) u64);

/// A leg, as the reader's task knows it. Dropping it ends its stream.
pub(super) struct Leg {
    pub(super) broker: Broker,
    pub(super) partitions: BTreeSet<u32>,
    /// The way to the broker; none until it serves the stream.
    pub(super) requests: Option<mpsc::Sender<v1::ConsumeRequest>>,
    /// Its share of the reader's credit.
    pub(super) credit: u32,
    /// Messages that were taken and whose credit is not given back yet.
    pub(super) owed: u32,
    /// The close is sent.
    pub(super) closes: bool,
    listener: AbortHandle,
}

/// What a leg says.
pub(super) enum Said {
    /// It is served: where each partition begins, and the way to the broker.
    Started(Vec<v1::StartedPartition>, mpsc::Sender<v1::ConsumeRequest>),
    /// The broker's next step.
    Step(Response),
    /// It is over, and nothing follows.
    Ended(ClientError),
}

/// Where the legs of a reader speak.
pub(super) type Ear = mpsc::Sender<(LegId, Said)>;

impl Leg {
    /// Opens the stream, with so much of its credit to begin with.
    pub(super) fn open(
        client: Client,
        id: LegId,
        broker: Broker,
        (source, partitions): (Source, BTreeSet<u32>),
        (credit, at_first): (u32, u32),
        ear: Ear,
    ) -> Self {
        let to = broker.clone();
        let listening = tokio::spawn(async move {
            let error = listen(&client, id, &to, source, at_first, &ear).await;
            // The reader may be gone.
            drop(ear.send((id, Said::Ended(error))).await);
        });
        let listener = listening.abort_handle();
        Self { broker, partitions, requests: None, credit, owed: 0, closes: false, listener }
    }

    /// Sends a step; false if there is no way or no room at this moment.
    pub(super) fn send(&self, request: v1::ConsumeRequest) -> bool {
        self.requests.as_ref().is_some_and(|requests| requests.try_send(request).is_ok())
    }
}

impl Drop for Leg {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

async fn listen(
    client: &Client,
    id: LegId,
    broker: &Broker,
    source: Source,
    credit: u32,
    ear: &Ear,
) -> ClientError {
    let stream = match ConsumeStream::open(client, broker, source, credit).await {
        Ok(stream) => stream,
        Err(error) => return error,
    };
    let ConsumeStream { requests, mut responses, started } = stream;
    let mut said = Said::Started(started.partitions, requests);
    loop {
        if ear.send((id, said)).await.is_err() {
            return lost();
        }
        said = match next(&mut responses).await {
            Ok(Some(step)) => Said::Step(step),
            Ok(None) => return lost(),
            Err(error) => return error,
        };
    }
}
