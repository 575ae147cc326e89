//! An open consume stream.

use pondage_model::{Outcome, Refusal, limits};
use pondage_protocol::{Failure, consume::Source, v1};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use v1::{consume_request::Step as Request, consume_response::Step as Response};

use crate::{
    Client, ClientError,
    brokers::Broker,
    client::{OPEN_TIMEOUT, messages},
};

/// Requests that wait for the connection.
const REQUESTS: usize = 16;

/// An open consume stream, both ways of it.
#[derive(Debug)]
pub(crate) struct ConsumeStream {
    pub(crate) requests: mpsc::Sender<v1::ConsumeRequest>,
    pub(crate) responses: Streaming<v1::ConsumeResponse>,
    pub(crate) started: v1::ConsumeStarted,
}

impl ConsumeStream {
    /// Opens a stream at a broker and waits until that serves it.
    pub(crate) async fn open(
        client: &Client,
        broker: &Broker,
        source: Source,
        credit: u32,
    ) -> Result<Self, ClientError> {
        let deadline = Instant::now() + client.options().request_timeout.min(OPEN_TIMEOUT);
        let (requests, receiver) = mpsc::channel(REQUESTS);
        let start =
            v1::ConsumeStart { source: Some(source.into()), credit: credit.clamp(1, limits::CREDIT_MAX) };
        let closed = |_| ClientError::closed("stream", Outcome::Definite);
        requests.send(request(Request::Start(start))).await.map_err(closed)?;
        let mut messages = messages(broker.channel.clone());
        let opening = async {
            let mut responses = messages.consume(ReceiverStream::new(receiver)).await?.into_inner();
            match next(&mut responses).await? {
                Some(Response::Started(started)) => Ok((responses, started)),
                Some(_) => Err(Refusal::Malformed { what: "a stream that begins without a start" }.into()),
                None => Err(lost()),
            }
        };
        let (responses, started) =
            timeout_at(deadline, opening).await.unwrap_or_else(|_| Err(Refusal::Timeout.into()))?;
        Ok(Self { requests, responses, started })
    }
}

/// A step of ours.
pub(crate) const fn request(step: Request) -> v1::ConsumeRequest {
    v1::ConsumeRequest { step: Some(step) }
}

/// The stream ended without a word.
pub(crate) fn lost() -> ClientError {
    ClientError::unavailable("the broker ended the stream".to_owned(), Outcome::Unknown)
}

/// The broker's next step; `None` at the end. Steps of a later version are passed over; an error is one.
pub(crate) async fn next(
    responses: &mut Streaming<v1::ConsumeResponse>,
) -> Result<Option<Response>, ClientError> {
    while let Some(response) = responses.message().await? {
        match response.step {
            Some(Response::Error(error)) => return Err(Failure::from(error).into()),
            Some(step) => return Ok(Some(step)),
            None => {}
        }
    }
    Ok(None)
}
