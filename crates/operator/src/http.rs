//! Metrics and health of the operator, and why groups are scaled as they are.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::{Path, RawQuery, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{metrics::Metrics, names::Key, scaling::Scaling};

/// The content type of the Prometheus text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Serves until `cancel`.
///
/// # Errors
/// If the address can't be used.
pub(crate) async fn serve(
    address: SocketAddr,
    metrics: Metrics,
    scaling: Arc<Scaling>,
    cancel: CancellationToken,
) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    let router = Router::new()
        .route("/metrics", get(scrape))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(|| async { "ok\n" }))
        .with_state(metrics)
        .merge(Router::new().route("/autoscaling/{namespace}/{group}", get(explain)).with_state(scaling));
    axum::serve(listener, router).with_graceful_shutdown(cancel.cancelled_owned()).await
}

async fn scrape(State(metrics): State<Metrics>) -> impl IntoResponse {
    match metrics.page() {
        Ok(text) => (StatusCode::OK, [(header::CONTENT_TYPE, METRICS_TYPE)], text),
        Err(error) => {
            let text = format!("{error}\n");
            (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, METRICS_TYPE)], text)
        }
    }
}

/// For people, and with `?output=json` for programs.
async fn explain(
    State(scaling): State<Arc<Scaling>>,
    Path((namespace, name)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Response {
    let key = Key { namespace, name };
    let Some(explained) = scaling.explained(&key) else {
        let text = format!("this operator does not scale the consumers of group {key}\n");
        return (StatusCode::NOT_FOUND, text).into_response();
    };
    if query.as_deref() != Some("output=json") {
        return explained.to_string().into_response();
    }
    match serde_json::to_string(&*explained) {
        Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}
