//! Metrics and health over HTTP/1, for scrapers and kubelets. One request per connection, each with a deadline: a
//! scraper comes every few seconds, and nobody can hold a place.

use std::{io, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use pondage_node::disk::Disk;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, mpsc},
};
use tokio_util::sync::CancellationToken;

use crate::{
    handle::Handle,
    metrics,
    services::connection::{self, Caps, Connection, Greeting},
};

/// Connections in total, and of one address.
const CAPS: Caps = Caps { total: 256, per_address: 128 };
/// Scrapes at once: each asks every shard.
const SCRAPES_MAX: usize = 2;
/// The content type of the Prometheus text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

struct Page<D: Disk> {
    handle: Handle<D>,
    scrapes: Semaphore,
}

/// Serves until `cancel`.
pub(crate) async fn serve<D: Disk>(handle: Handle<D>, listener: TcpListener, cancel: CancellationToken) {
    let Ok(address) = listener.local_addr() else {
        return handle.fail("the HTTP listener has no address".to_owned());
    };
    let metrics = handle.metrics().clone();
    let incoming = connection::accept(listener, Greeting::Any, None, CAPS, metrics, cancel.clone());
    let router = Router::new()
        .route("/metrics", get(scrape::<D>))
        .route("/livez", get(live::<D>))
        .route("/readyz", get(ready::<D>))
        .fallback(nothing)
        .method_not_allowed_fallback(nothing)
        .with_state(Arc::new(Page { handle: handle.clone(), scrapes: Semaphore::new(SCRAPES_MAX) }));
    let serving = axum::serve(Incoming { incoming, address }, router)
        .with_graceful_shutdown(cancel.clone().cancelled_owned())
        .into_future();
    // Requests here are short; those that are not done when the broker stops need no answer.
    tokio::select! {
        ended = serving => {
            if let Err(error) = ended {
                handle.fail(format!("the HTTP endpoint ended: {error}"));
            }
        }
        () = cancel.cancelled() => {}
    }
}

async fn scrape<D: Disk>(State(page): State<Arc<Page<D>>>) -> impl IntoResponse {
    let Ok(_turn) = page.scrapes.acquire().await else {
        return answer(StatusCode::SERVICE_UNAVAILABLE, METRICS_TYPE, String::new());
    };
    match metrics::scrape(&page.handle).await {
        Ok(text) => answer(StatusCode::OK, METRICS_TYPE, text),
        Err(error) => answer(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")),
    }
}

async fn live<D: Disk>(State(page): State<Arc<Page<D>>>) -> impl IntoResponse {
    match page.handle.failed().borrow().as_ref() {
        None => answer(StatusCode::OK, TEXT, "ok\n".to_owned()),
        Some(reason) => answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("failed: {reason}\n")),
    }
}

async fn ready<D: Disk>(State(page): State<Arc<Page<D>>>) -> impl IntoResponse {
    if let Some(reason) = page.handle.failed().borrow().as_ref() {
        return answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("failed: {reason}\n"));
    }
    if *page.handle.ready().borrow() {
        answer(StatusCode::OK, TEXT, "ok\n".to_owned())
    } else {
        answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, "starting: not every shard is led yet\n".to_owned())
    }
}

async fn nothing() -> impl IntoResponse {
    answer(StatusCode::NOT_FOUND, TEXT, "there are /metrics, /livez and /readyz\n".to_owned())
}

const TEXT: &str = "text/plain; charset=utf-8";

fn answer(status: StatusCode, content_type: &'static str, body: String) -> impl IntoResponse {
    (status, [(header::CONTENT_TYPE, content_type), (header::CONNECTION, "close")], body)
}

/// The connections, for axum.
struct Incoming {
    incoming: mpsc::Receiver<io::Result<Connection>>,
    address: SocketAddr,
}

impl axum::serve::Listener for Incoming {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            match self.incoming.recv().await {
                Some(Ok(connection)) => return (connection, self.address),
                Some(Err(_)) => {}
                // The broker stops, which ends the server too.
                None => std::future::pending().await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}
