//! What the gRPC library refuses by itself, in our words: a request over the limit, or bytes that are no request.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use pondage_model::{Refusal, limits};
use pondage_protocol::to_status;
use tonic::{
    Code, Status,
    body::Body,
    codegen::{Service, http},
    server::NamedService,
};

use crate::metrics::Metrics;

/// The refusal that stands behind a status of the library itself; `None` for a lost connection and the like.
pub(super) fn refusal_of(status: &Status) -> Option<Refusal> {
    if !status.details().is_empty() {
        return None;
    }
    match status.code() {
        Code::OutOfRange => {
            let limit = limits::RPC_BYTES_MAX as u64;
            let said = status.message().split_once("found ").map_or("", |(_, rest)| rest);
            let digits = said.split(|letter: char| !letter.is_ascii_digit()).next().unwrap_or("");
            Some(Refusal::TooLarge { what: "the request", bytes: digits.parse().unwrap_or(limit + 1), limit })
        }
        Code::Internal if status.message().contains("decode") => {
            Some(Refusal::Malformed { what: "not a message of this call" })
        }
        _ => None,
    }
}

/// A service whose library statuses are given the facts of a refusal.
#[derive(Clone)]
pub(super) struct Edge<S> {
    inner: S,
    metrics: Metrics,
}

impl<S> Edge<S> {
    pub(super) fn new(inner: S, metrics: Metrics) -> Self {
        Self { inner, metrics }
    }
}

impl<S: NamedService> NamedService for Edge<S> {
    const NAME: &'static str = S::NAME;
}

impl<S, B> Service<http::Request<B>> for Edge<S>
where
    S: Service<http::Request<B>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let (call, metrics) = (self.inner.call(request), self.metrics.clone());
        Box::pin(async move {
            let response = call.await?;
            let refusal = Status::from_header_map(response.headers()).as_ref().and_then(refusal_of);
            Ok(match refusal {
                Some(refusal) => {
                    metrics.refused(refusal.code());
                    to_status(&refusal).into_http()
                }
                None => response,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_of_the_library_are_told_from_others() {
        let too_large = "Error, decoded message length too large: found 9999999 bytes, the limit is: 5 bytes";
        for (status, code) in [
            (Status::out_of_range(too_large), Some(pondage_model::Code::TooLarge)),
            (Status::internal("failed to decode Protobuf message"), Some(pondage_model::Code::Malformed)),
            (Status::internal("h2 protocol error"), None),
            (Status::cancelled("gone"), None),
            (to_status(&Refusal::ShuttingDown), None),
        ] {
            assert_eq!(refusal_of(&status).map(|refusal| refusal.code()), code, "{status:?}");
        }
        let refusal = refusal_of(&Status::out_of_range(too_large));
        assert!(matches!(refusal, Some(Refusal::TooLarge { bytes: 9_999_999, .. })), "{refusal:?}");
    }
}
