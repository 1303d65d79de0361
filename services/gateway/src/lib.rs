//! The gateway: where clients come in and messages go out.
//!
//! Socket.IO (`socket`) and REST ([`rest`]) share one port ([`http`]) and one path inwards
//! ([`requests`]): a request is parsed and checked, becomes a command on the bus or a query to the
//! views, and its answer goes back the way it came. Messages come outwards as push frames from the
//! projection service and are handed to this gateway's own sockets (`delivery`).
//!
//! Invariants kept here:
//! - success is told only after the aggregate service has said that the event is committed;
//! - what one socket sends is put on the bus in the order in which it was sent;
//! - a socket gets each message of its stream once, in log order, whatever is lost in between;
//! - every queue, list and packet is bounded.

pub mod auth;
pub(crate) mod delivery;
pub mod http;
pub mod metrics;
pub mod presence;
pub mod requests;
pub mod rest;
pub mod settings;
pub(crate) mod socket;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use futures::FutureExt;
use futures::future::BoxFuture;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use verbatim_analytics::Reports;
use verbatim_bus::Bus;
use verbatim_journal::Journal;
use verbatim_keys::Vault;
use verbatim_seal::Prover;
use verbatim_views::Views;

use auth::Verifier;
use delivery::Delivery;
use http::Server;
use metrics::Metrics;
use presence::Presence;
use requests::Requests;
use rest::Rest;
pub use settings::Settings;
use settings::TokenKey;
use socket::Sockets;

/// What of the time for the shutdown is left to the last HTTP responses.
const HTTP_END: Duration = Duration::from_millis(500);

/// What the gateway talks to.
#[derive(Clone)]
pub struct Ports {
    /// A read waits until the views have come as far as its head. Audits read its events.
    pub journal: Arc<dyn Journal>,
    pub bus: Arc<dyn Bus>,
    pub views: Arc<dyn Views>,
    /// Seals what is said, and opens it for those who read it.
    pub keys: Arc<Vault>,
    /// What proofs for auditors are made from.
    pub seal: Option<Prover>,
    pub analytics: Reports,
}

/// The gateway role.
pub struct Gateway {
    settings: Arc<Settings>,
    verifier: Arc<Verifier>,
    requests: Arc<Requests>,
    presence: Arc<Presence>,
    metrics: Arc<Metrics>,
    delivery: Arc<Delivery>,
    sockets: Arc<Sockets>,
}

impl Gateway {
    /// A gateway that doesn't run yet; its metrics are shown in `registry`.
    ///
    /// # Errors
    /// The key for tokens can't be used.
    pub fn new(ports: Ports, settings: Settings, registry: &mut Registry) -> anyhow::Result<Self> {
        let metrics = Metrics::register(registry);
        let verifier = Verifier::new(&settings.tokens).context(match settings.tokens.key {
            TokenKey::Secret(_) => "JWT_SECRET",
            TokenKey::PublicKeyPem(_) => "JWT_PUBLIC_KEY_FILE",
        })?;
        let verifier = Arc::new(verifier);
        let settings = Arc::new(settings);
        let presence = Arc::new(Presence::new(Arc::clone(&ports.bus)));
        let requests = Arc::new(Requests::new(
            ports.clone(),
            Arc::clone(&settings),
            Arc::clone(&presence),
            Arc::clone(&metrics),
        ));
        let table = Arc::new(socket::Registry::default());
        let delivery = Arc::new(Delivery::new(
            ports,
            &settings,
            Arc::clone(&requests),
            Arc::clone(&table),
            Arc::clone(&metrics),
        ));
        let sockets = Sockets::new(socket::Parts {
            settings: Arc::clone(&settings),
            verifier: Arc::clone(&verifier),
            requests: Arc::clone(&requests),
            presence: Arc::clone(&presence),
            metrics: Arc::clone(&metrics),
            registry: table,
            delivery: Arc::clone(&delivery),
        });
        Ok(Self { settings, verifier, requests, presence, metrics, delivery, sockets })
    }

    /// Serves until `shutdown`; then takes nothing new, finishes what was taken, and closes all
    /// connections, within the time that the settings give. `registry` is shown at `/metrics`.
    ///
    /// # Errors
    /// A part of the gateway failed.
    pub async fn run(
        self,
        listener: TcpListener,
        registry: Arc<Registry>,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        let Self { settings, verifier, requests, presence, metrics, delivery, sockets } = self;
        delivery.begin().await;
        let frames_fresh = {
            let delivery = Arc::clone(&delivery);
            move || delivery.is_fresh()
        };
        let rest = Rest::new(requests, verifier, Arc::clone(&settings), registry, frames_fresh);
        let connections = metrics.connections.clone();
        let service = sockets.service();
        let server = Server::new(Arc::clone(&settings), service, Arc::new(rest), connections);

        let [closing, http_end, end] = std::array::from_fn(|_| CancellationToken::new());
        let mut tasks = JoinSet::new();
        tasks.spawn(named("http", server.run(listener, closing.clone(), http_end.clone())));
        tasks.spawn(named("delivery", delivery.run(end.clone())));
        tasks.spawn(named("presence", {
            let (sockets, end) = (Arc::clone(&sockets), end.clone());
            async move { presence.run(end, || sockets.close_transports()).await }
        }));
        tasks.spawn(named("sockets", {
            let (sockets, end) = (Arc::clone(&sockets), end.clone());
            async move { sockets.run(end).await }
        }));
        let outcome = tokio::select! {
            () = shutdown.cancelled() => Ok(()),
            Some(ended) = tasks.join_next() => Err(failed(ended)),
        };

        let deadline = Instant::now() + settings.shutdown_timeout;
        closing.cancel();
        sockets.stop(deadline - HTTP_END).await;
        http_end.cancel();
        end.cancel();
        let ended = timeout_at(deadline, async {
            while let Some(ended) = tasks.join_next().await {
                if let Err(error) = ended {
                    tracing::error!(%error, "a part of the gateway failed while it ended");
                }
            }
        });
        if ended.await.is_err() {
            tracing::warn!("connections were cut off, as they did not end in time");
        }
        outcome
    }
}

/// Boxed: the runtime's part is compiled anew for each type of task.
fn named(
    name: &'static str,
    task: impl Future<Output = ()> + Send + 'static,
) -> BoxFuture<'static, &'static str> {
    task.map(move |()| name).boxed()
}

fn failed(ended: Result<&'static str, JoinError>) -> anyhow::Error {
    match ended {
        Ok(name) => anyhow!("the gateway's {name} task ended by itself"),
        Err(error) => anyhow!("a task of the gateway failed: {error}"),
    }
}
