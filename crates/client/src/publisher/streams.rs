//! The publish streams that are open, one to a broker.

use std::{
    collections::BTreeMap,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use pondage_protocol::v1;
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Status, Streaming};

use super::lane::Link;
use crate::{
    brokers::Broker,
    client::{OPEN_TIMEOUT, messages},
};

type Opening = Pin<Box<dyn Future<Output = Result<Streaming<v1::PublishStreamResponse>, Status>> + Send>>;

/// The streams of one publisher.
pub(super) struct Streams {
    /// Requests in flight on each; its channel has room for as many.
    in_flight: usize,
    /// For the opening.
    limit: Duration,
    next: u64,
    open: BTreeMap<Link, Open>,
    /// Behind whom it begins to listen, so that nobody is heard only when all others are silent.
    heard: Link,
}

struct Open {
    broker: Broker,
    requests: mpsc::Sender<v1::PublishStreamRequest>,
    state: State,
}

enum State {
    /// Waits for the broker to take the stream.
    Opening(Opening),
    Up(Box<Streaming<v1::PublishStreamResponse>>),
}

/// What a stream says.
pub(super) enum Said {
    /// The broker took it.
    Opened,
    /// It answers a request.
    Answer(v1::PublishStreamResponse),
    /// It is over; with why, if that was said.
    Ended(Option<Status>),
}

impl Streams {
    pub(super) fn new(in_flight: usize, request_timeout: Duration) -> Self {
        let limit = request_timeout.min(OPEN_TIMEOUT);
        Self { in_flight, limit, next: 0, open: BTreeMap::new(), heard: Link(0) }
    }

    /// The stream to a broker; opened if there is none.
    pub(super) fn to(&mut self, broker: &Broker) -> Link {
        if let Some((link, _)) = self.open.iter().find(|(_, open)| open.broker == *broker) {
            return *link;
        }
        let (requests, receiver) = mpsc::channel(self.in_flight);
        let (mut messages, limit) = (messages(broker.channel.clone()), self.limit);
        let opening = async move {
            let opened = timeout(limit, messages.publish_stream(ReceiverStream::new(receiver))).await;
            let responses = opened.map_err(|_| Status::deadline_exceeded("the broker does not answer"))??;
            Ok(responses.into_inner())
        };
        let link = Link(self.next);
        self.next += 1;
        let state = State::Opening(Box::pin(opening));
        self.open.insert(link, Open { broker: broker.clone(), requests, state });
        link
    }

    pub(super) fn links(&self) -> Vec<Link> {
        self.open.keys().copied().collect()
    }

    pub(super) fn broker(&self, link: Link) -> Option<Broker> {
        self.open.get(&link).map(|open| open.broker.clone())
    }

    /// Sends; false if the stream is lost. The channel has room for as many as may be in flight.
    pub(super) fn send(&self, link: Link, request: v1::PublishStreamRequest) -> bool {
        self.open.get(&link).is_some_and(|open| open.requests.try_send(request).is_ok())
    }

    pub(super) fn close(&mut self, link: Link) {
        self.open.remove(&link);
    }

    /// What any of them says next.
    pub(super) async fn next(&mut self) -> (Link, Said) {
        poll_fn(|context| self.poll(context)).await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<(Link, Said)> {
        let turns: Vec<Link> = {
            let links = self.open.keys().copied();
            let (before, behind): (Vec<Link>, Vec<Link>) = links.partition(|link| *link <= self.heard);
            behind.into_iter().chain(before).collect()
        };
        for link in turns {
            let Some(open) = self.open.get_mut(&link) else { continue };
            let said = match &mut open.state {
                State::Opening(opening) => match opening.as_mut().poll(context) {
                    Poll::Ready(Ok(responses)) => {
                        open.state = State::Up(Box::new(responses));
                        Said::Opened
                    }
                    Poll::Ready(Err(status)) => Said::Ended(Some(status)),
                    Poll::Pending => continue,
                },
                State::Up(responses) => match Pin::new(&mut **responses).poll_next(context) {
                    Poll::Ready(Some(Ok(response))) => Said::Answer(response),
                    Poll::Ready(Some(Err(status))) => Said::Ended(Some(status)),
                    Poll::Ready(None) => Said::Ended(None),
                    Poll::Pending => continue,
                },
            };
            self.heard = link;
            return Poll::Ready((link, said));
        }
        Poll::Pending
    }
}
