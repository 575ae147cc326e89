//! What a publish is compared with: the same call, answered at once, or once its bytes are on the disk.

use std::{
    convert::Infallible,
    fs::File,
    os::unix::fs::FileExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use anyhow::Result;
use pondage_model::limits;
use pondage_protocol::v1::{
    LocateRequest, LocateResponse, PartitionLocation, PublishRequest, PublishResponse,
};
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

/// Bytes of the file that [`Disk`] writes round and round.
const FILE_BYTES: u64 = 64 << 20;

/// Serves `pondage.v1.Messages/Publish` by answering without a look at the batch.
#[derive(Clone, Debug)]
struct Echo(Option<Arc<Disk>>);

/// Where each batch is written and synced by itself before it is answered, in place: no thread is changed, no sync is
/// shared.
#[derive(Debug)]
struct Disk {
    file: File,
    end: AtomicU64,
}

impl Disk {
    /// A file whose blocks are written before, as a broker's are.
    fn create(path: &Path) -> Result<Self> {
        let file = File::options().write(true).create(true).truncate(true).open(path)?;
        let zeros = vec![0; 1 << 20];
        for at in (0..FILE_BYTES).step_by(zeros.len()) {
            file.write_all_at(&zeros, at)?;
        }
        file.sync_all()?;
        Ok(Self { file, end: AtomicU64::new(0) })
    }

    fn store(&self, bytes: &[u8]) -> std::io::Result<()> {
        let length = bytes.len() as u64;
        let at = self.end.fetch_add(length, Ordering::Relaxed) % FILE_BYTES;
        self.file.write_all_at(bytes, at.min(FILE_BYTES.saturating_sub(length)))?;
        self.file.sync_data()
    }
}

impl NamedService for Echo {
    const NAME: &'static str = "pondage.v1.Messages";
}

/// The empty method.
struct Answer(Option<Arc<Disk>>);

/// Where the one partition is: here.
struct Here;

impl UnaryService<LocateRequest> for Here {
    type Response = LocateResponse;
    type Future = BoxFuture<Response<LocateResponse>, Status>;

    fn call(&mut self, _: Request<LocateRequest>) -> Self::Future {
        let here = PartitionLocation { shard: 1, epoch: 1, here: true, ..Default::default() };
        let location = LocateResponse {
            is_topic: true,
            partitions: 1,
            message_bytes_max: limits::MESSAGE_BYTES_DEFAULT,
            locations: vec![here],
            ..Default::default()
        };
        Box::pin(async { Ok(Response::new(location)) })
    }
}

impl UnaryService<PublishRequest> for Answer {
    type Response = PublishResponse;
    type Future = BoxFuture<Response<PublishResponse>, Status>;

    fn call(&mut self, request: Request<PublishRequest>) -> Self::Future {
        let disk = self.0.clone();
        // An offset as a real answer has it, so that both weigh the same.
        Box::pin(async move {
            if let Some(disk) = disk {
                disk.store(&request.get_ref().batch)?;
            }
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
        let disk = self.0.clone();
        Box::pin(async move {
            if request.uri().path().ends_with("/Locate") {
                let codec = ProstCodec::<LocateResponse, LocateRequest>::default();
                return Ok(Grpc::new(codec).unary(Here, request).await);
            }
            let codec = ProstCodec::<PublishResponse, PublishRequest>::default();
            let mut grpc = Grpc::new(codec).apply_max_message_size_config(Some(limits::RPC_BYTES_MAX), None);
            Ok(grpc.unary(Answer(disk), request).await)
        })
    }
}

/// Serves until the process ends, with the broker's own settings of HTTP/2. With a file each batch is durable there
/// before it is answered.
pub(crate) async fn serve(listener: TcpListener, file: Option<&Path>) -> Result<()> {
    let disk = file.map(Disk::create).transpose()?.map(Arc::new);
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
        .add_service(Echo(disk))
        .serve_with_incoming(incoming)
        .await?;
    Ok(())
}
