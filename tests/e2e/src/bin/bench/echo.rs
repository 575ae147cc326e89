//! What a publish is compared with: the same call, answered at once.

use std::{
    convert::Infallible,
    task::{Context, Poll},
    time::Duration,
};

use anyhow::Result;
use pondage_model::limits;
use pondage_protocol::v1::{PublishRequest, PublishResponse};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Request, Response, Status,
    body::Body,
    codegen::{BoxFuture, Service, http},
    server::{Grpc, NamedService, UnaryService},
    transport::Server,
};
use tonic_prost::ProstCodec;

/// Serves `pondage.v1.Messages/Publish` by answering without a look at the batch.
#[derive(Clone, Copy, Debug)]
struct Echo;

impl NamedService for Echo {
    const NAME: &'static str = "pondage.v1.Messages";
}

/// The empty method.
struct Answer;

impl UnaryService<PublishRequest> for Answer {
    type Response = PublishResponse;
    type Future = BoxFuture<Response<PublishResponse>, Status>;

    fn call(&mut self, _: Request<PublishRequest>) -> Self::Future {
        // An offset as a real answer has it, so that both weigh the same.
        Box::pin(async {
            Ok(Response::new(PublishResponse { base_offset: 1 << 20, count: 1, ..Default::default() }))
        })
    }
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            let codec = ProstCodec::<PublishResponse, PublishRequest>::default();
            let mut grpc = Grpc::new(codec).apply_max_message_size_config(Some(limits::RPC_BYTES_MAX), None);
            Ok(grpc.unary(Answer, request).await)
        })
    }
}

/// Serves until the process ends, with the broker's own settings of HTTP/2.
pub(crate) async fn serve(listener: TcpListener) -> Result<()> {
    let incoming = TcpListenerStream::new(listener);
    let incoming = tokio_stream::StreamExt::map(incoming, |stream| {
        stream.and_then(|stream| stream.set_nodelay(true).map(|()| stream))
    });
    Server::builder()
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(16 << 20)
        .max_concurrent_streams(1_024)
        .http2_keepalive_interval(Some(Duration::from_secs(20)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
        .http2_max_header_list_size(16 << 10)
        .add_service(Echo)
        .serve_with_incoming(incoming)
        .await?;
    Ok(())
}
