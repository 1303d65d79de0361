//! What operators ask of a process without a gateway: whether it lives, whether it works, and what it
//! measures.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use poem::http::StatusCode;
use poem::listener::TcpAcceptor;
use poem::web::Data;
use poem::{EndpointExt, Response, Route, Server, get, handler};
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use verbatim_protocol::{Failure, Timestamp};

const JSON: &str = "application/json; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How long one look at what a role needs may take.
const PROBE: Duration = Duration::from_secs(2);

/// Tells what a role lacks to do its work, if anything.
pub type Probe = Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// Serves `/healthz`, `/readyz` and `/metrics` until the end.
pub async fn serve(
    listener: TcpListener,
    registry: Arc<Registry>,
    probe: Probe,
    end: CancellationToken,
) -> anyhow::Result<()> {
    let routes = Route::new()
        .at("/healthz", get(healthz))
        .at("/readyz", get(readyz))
        .at("/metrics", get(metrics))
        .data(registry)
        .data(probe)
        .boxed();
    let server = Server::new_with_acceptor(TcpAcceptor::from_tokio(listener)?);
    let limit = Some(Duration::from_secs(1));
    Ok(server.run_with_graceful_shutdown(routes, end.cancelled_owned(), limit).await?)
}

#[handler]
fn healthz() -> Response {
    healthy()
}

#[handler]
async fn readyz(Data(probe): Data<&Probe>) -> Response {
    match tokio::time::timeout(PROBE, probe()).await {
        Ok(Ok(())) => healthy(),
        Ok(Err(lack)) => refused(&Failure::unavailable(&lack)),
        Err(_) => refused(&Failure::unavailable("no answer in time")),
    }
}

#[handler]
fn metrics(Data(registry): Data<&Arc<Registry>>) -> Response {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, registry) {
        Ok(()) => Response::builder().content_type(OPEN_METRICS).body(text),
        Err(error) => {
            tracing::error!(%error, "the metrics can't be written");
            refused(&Failure::internal())
        }
    }
}

fn healthy() -> Response {
    let body =
        json!({ "success": true, "data": { "status": "ok" }, "timestamp": Timestamp::now() });
    Response::builder().content_type(JSON).body(body.to_string())
}

fn refused(failure: &Failure) -> Response {
    let body = json!({ "success": false, "error": failure, "timestamp": Timestamp::now() });
    let status = StatusCode::from_u16(failure.code.status());
    let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    Response::builder().status(status).content_type(JSON).body(body.to_string())
}
