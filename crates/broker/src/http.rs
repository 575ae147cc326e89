//! Metrics and health over HTTP/1, for scrapers and kubelets. One request per connection, each with a deadline: a
//! scraper comes every few seconds, and nobody can hold a place.

use std::{io, net::SocketAddr};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use pondage_node::{coordinator::Readiness, disk::Disk};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_util::sync::CancellationToken;

use crate::{
    handle::Handle,
    metrics::{self, Form},
    services::connection::{self, Caps, Connection, Greeting},
};

/// Connections in total, and of one address.
const CAPS: Caps = Caps { total: 256, per_address: 128 };
/// The content type of the Prometheus text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

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
        .with_state(handle.clone());
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

async fn scrape<D: Disk>(State(handle): State<Handle<D>>, asked: HeaderMap) -> Response {
    let form = if accepts_gzip(&asked) { Form::Gzip } else { Form::Plain };
    match metrics::scrape(&handle, form).await {
        Ok(document) => {
            let mut answer = answer(StatusCode::OK, METRICS_TYPE, document).into_response();
            let headers = answer.headers_mut();
            headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
            if form == Form::Gzip {
                headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            }
            answer
        }
        Err(error) => answer(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")).into_response(),
    }
}

/// Whether the answer may be compressed: gzip is named, or anything goes, and not with the weight 0.
fn accepts_gzip(asked: &HeaderMap) -> bool {
    let weight_of = |wanted: &[&str]| {
        let values = asked.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
        let mut codings =
            values.flat_map(|value| value.split(',')).map(|coding| coding.split(';').map(str::trim));
        codings.find_map(|mut parts| {
            let name = parts.next()?;
            wanted.iter().any(|wanted| name.eq_ignore_ascii_case(wanted)).then_some(())?;
            let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
            Some(weight.is_none_or(|weight| weight.parse::<f32>().is_ok_and(|weight| weight > 0.0)))
        })
    };
    weight_of(&["gzip", "x-gzip"]).or_else(|| weight_of(&["*"])).unwrap_or(false)
}

async fn live<D: Disk>(State(handle): State<Handle<D>>) -> impl IntoResponse {
    match handle.failed().borrow().as_ref() {
        None => answer(StatusCode::OK, TEXT, "ok\n".to_owned()),
        Some(reason) => answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("failed: {reason}\n")),
    }
}

async fn ready<D: Disk>(State(handle): State<Handle<D>>) -> impl IntoResponse {
    if let Some(reason) = handle.failed().borrow().as_ref() {
        return answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("failed: {reason}\n"));
    }
    let readiness = *handle.readiness().borrow();
    let lacks = match readiness {
        Readiness::Ready => return answer(StatusCode::OK, TEXT, "ok\n".to_owned()),
        Readiness::Unregistered if !handle.is_begun() => "waits for the cluster to be begun".to_owned(),
        lacks => lacks.to_string(),
    };
    answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("starting: {lacks}\n"))
}

async fn nothing() -> impl IntoResponse {
    answer(StatusCode::NOT_FOUND, TEXT, "there are /metrics, /livez and /readyz\n".to_owned())
}

const TEXT: &str = "text/plain; charset=utf-8";

fn answer(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> impl IntoResponse {
    (status, [(header::CONTENT_TYPE, content_type), (header::CONNECTION, "close")], body.into())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_for_those_who_accept_it() {
        for (asked, accepts) in [
            (&[][..], false),
            (&["gzip"], true),
            (&["GZip"], true),
            (&["x-gzip"], true),
            (&["deflate, br;q=0.9 , gzip;q=0.1"], true),
            (&["deflate", "gzip"], true),
            (&["identity"], false),
            (&["gzipped"], false),
            (&[""], false),
            (&["*"], true),
            (&["*;q=0"], false),
            (&["gzip;q=0"], false),
            (&["gzip; q=0.000, *"], false),
            (&["gzip;q=much"], false),
            (&["br, *;q=0.5"], true),
        ] {
            let mut headers = HeaderMap::new();
            for value in asked {
                headers.append(header::ACCEPT_ENCODING, HeaderValue::from_static(value));
            }
            assert_eq!(accepts_gzip(&headers), accepts, "{asked:?}");
        }
    }
}
