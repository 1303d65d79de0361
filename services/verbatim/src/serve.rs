//! `verbatim serve`: opens the stores, wires the services, and keeps them going until the end.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use prometheus_client::registry::Registry;
use secrecy::ExposeSecret;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;
use verbatim_aggregate::Aggregate;
use verbatim_bus::Bus;
use verbatim_bus::in_process::{Capacity, InProcess};
use verbatim_gateway::Gateway;
use verbatim_gateway::settings::TokenKey;
use verbatim_journal::Journal;
use verbatim_projection::Projection;

use crate::admin;
use crate::cli::ServeArgs;
use crate::control;
use crate::data::DataFolder;
use crate::log;
use crate::settings::{self, Serve};

/// HS256 is no stronger than its secret; RFC 7518 asks for as many bits as the hash has.
const STRONG_SECRET_BYTES: usize = 32;

/// How long the services behind the gateway may take to finish once it has.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

pub fn run(args: ServeArgs) -> anyhow::Result<()> {
    let (settings, folder) = settings::serve(&args)?;
    drop(args);
    let _lock = folder.lock()?;
    let log = log::start(&settings.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(serve(settings, &folder, &log));
    // What a role left running must not hold up the end.
    runtime.shutdown_timeout(Duration::from_millis(500));
    result
}

async fn serve(settings: Serve, folder: &DataFolder, log: &log::Log) -> anyhow::Result<()> {
    // From the beginning, so that a signal never cuts off what has begun.
    let mut signals = Signals::new()?;
    let stores = admin::Stores::open(folder).await?;
    let bus: Arc<dyn Bus> = Arc::new(InProcess::new(Capacity::default()));

    let mut registry = Registry::default();
    log::metrics(log, &mut registry);
    let journal: Arc<dyn Journal> = stores.journal.clone();
    let aggregate = Aggregate::new(
        Arc::clone(&journal),
        Arc::clone(&bus),
        verbatim_aggregate::Settings::default(),
        &mut registry,
    );
    let projection = Projection::new(
        verbatim_projection::Ports {
            journal: Arc::clone(&journal),
            bus: Arc::clone(&bus),
            views: stores.views.clone(),
            state: stores.state.clone(),
        },
        verbatim_projection::Settings::default(),
        &mut registry,
    );
    let ports = verbatim_gateway::Ports { journal, bus, views: stores.views.clone() };
    let gateway = Gateway::new(ports, settings.gateway.clone(), &mut registry)?;

    let listener = TcpListener::bind(settings.listen)
        .await
        .with_context(|| format!("VERBATIM_LISTEN: cannot listen on {}", settings.listen))?;
    banner(&settings, &listener, folder)?;
    warn_of_a_weak_secret(&settings);

    // Each service ends when its own token says so: the gateway first, then those that it needs.
    let ends: [CancellationToken; 4] = std::array::from_fn(|_| CancellationToken::new());
    let [gateway_end, aggregate_end, projection_end, control_end] = ends.clone();
    let admin = match control::listen(&folder.control()) {
        Ok(listener) => tokio::spawn({
            let stores = stores.clone();
            let handle = move |request, answering| stores.clone().answer(request, answering);
            control::serve(listener, handle, control_end.clone())
        }),
        Err(error) => {
            tracing::warn!(error = %format_args!("{error:#}"), "backup and rebuild of the running server are off");
            tokio::spawn(control_end.clone().cancelled_owned())
        }
    };
    let mut projection = tokio::spawn(projection.run(projection_end.clone()));
    let mut aggregate = tokio::spawn(aggregate.run(aggregate_end.clone()));
    let mut gateway = tokio::spawn(gateway.run(listener, Arc::new(registry), gateway_end.clone()));

    let mut ended = tokio::select! {
        () = signals.next() => Ok(()),
        result = &mut projection => Err(unexpected("projection", result)),
        result = &mut aggregate => Err(unexpected("aggregate", result)),
        result = &mut gateway => Err(unexpected("gateway", result)),
    };
    tracing::info!("shutting down");
    tokio::spawn(async move {
        signals.next().await;
        std::process::exit(130);
    });

    let limit = settings.gateway.shutdown_timeout + Duration::from_millis(500);
    control_end.cancel();
    gateway_end.cancel();
    finish("gateway", gateway, limit, &mut ended).await;
    aggregate_end.cancel();
    finish("aggregate", aggregate, DRAIN_TIMEOUT, &mut ended).await;
    projection_end.cancel();
    finish("projection", projection, DRAIN_TIMEOUT, &mut ended).await;
    admin.abort();
    let _ = std::fs::remove_file(folder.control());
    if ended.is_ok() {
        tracing::info!("ended");
    }
    ended
}

/// Waits for a service's end; its first error is the outcome.
async fn finish(
    role: &str,
    task: JoinHandle<anyhow::Result<()>>,
    limit: Duration,
    outcome: &mut anyhow::Result<()>,
) {
    if task.is_finished() && outcome.is_err() {
        return;
    }
    let result = match tokio::time::timeout(limit, task).await {
        Ok(Ok(result)) => result.with_context(|| format!("the {role} service failed")),
        Ok(Err(error)) => Err(anyhow!("the {role} service failed: {error}")),
        Err(_) => Err(anyhow!("the {role} service did not end within {limit:?}")),
    };
    if let Err(error) = result {
        tracing::error!(error = %format_args!("{error:#}"), "not ended cleanly");
        if outcome.is_ok() {
            *outcome = Err(error);
        }
    }
}

fn unexpected(role: &str, result: Result<anyhow::Result<()>, JoinError>) -> anyhow::Error {
    let error = match result {
        Ok(Ok(())) => anyhow!("the {role} service ended by itself"),
        Ok(Err(error)) => error.context(format!("the {role} service failed")),
        Err(error) => anyhow!("the {role} service failed: {error}"),
    };
    tracing::error!(error = %format_args!("{error:#}"), "ending");
    error
}

/// The signals that ask the process to end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn banner(settings: &Serve, listener: &TcpListener, folder: &DataFolder) -> anyhow::Result<()> {
    let address = listener.local_addr()?;
    let program = std::env::args().next().unwrap_or_else(|| "verbatim".to_owned());
    let default_folder = std::path::absolute("data").is_ok_and(|path| path == folder.root());
    let token = match (&settings.gateway.tokens.key, settings.own_secret) {
        (TokenKey::PublicKeyPem(_), _) => "signed with your private key".to_owned(),
        (TokenKey::Secret(_), true) if default_folder => format!("{program} token --user alice"),
        (TokenKey::Secret(_), true) => {
            format!("{program} token --user alice --data-dir {}", folder.root().display())
        }
        (TokenKey::Secret(_), false) => format!("JWT_SECRET=… {program} token --user alice"),
    };
    println!("Verbatim {} listens on http://{address}", env!("CARGO_PKG_VERSION"));
    println!("  data    {}", folder.root().display());
    println!("  token   {token}");
    println!("  docs    http://{address}/docs");
    println!("  events  http://{address}/asyncapi.json");
    Ok(())
}

fn warn_of_a_weak_secret(settings: &Serve) {
    if let TokenKey::Secret(secret) = &settings.gateway.tokens.key
        && secret.expose_secret().len() < STRONG_SECRET_BYTES
    {
        tracing::warn!(
            "JWT_SECRET has fewer than {STRONG_SECRET_BYTES} bytes: tokens can be forged by guessing it"
        );
    }
}
