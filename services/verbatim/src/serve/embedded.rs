//! The embedded form: all services in this process, everything in the data folder.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use verbatim_aggregate::Aggregate;
use verbatim_bus::Bus;
use verbatim_bus::in_process::{Capacity, InProcess};
use verbatim_gateway::Gateway;
use verbatim_gateway::settings::TokenKey;
use verbatim_journal::Journal;
use verbatim_keys::Vault;
use verbatim_projection::{Projection, Sealing};
use verbatim_seal::Prover;

use super::roles::Roles;
use super::{DRAIN_TIMEOUT, Signals, warn_of_a_weak_secret};
use crate::admin;
use crate::control;
use crate::data::DataFolder;
use crate::keys;
use crate::log;
use crate::settings::{Serve, signer_of};

pub async fn serve(
    mut settings: Serve,
    folder: &DataFolder,
    log: &log::Log,
    background: &Handle,
) -> anyhow::Result<()> {
    // From the beginning, so that a signal never cuts off what has begun.
    let signals = Signals::new()?;
    let stores = admin::Stores::open(folder).await?;
    let master_key = keys::of_folder(settings.master_key.take(), folder)?;
    let vault = Arc::new(Vault::open(stores.keys.clone(), master_key).await.context("MASTER_KEY")?);
    verbatim_projection::destroy_erased(&*stores.journal, &vault).await?;
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
    // Views in this process know who waits for them, and can rest for longer until somebody does.
    let pace = verbatim_projection::Settings {
        longest_rest: Duration::from_millis(100),
        analytics_pause: Duration::from_secs(2),
        sample_seconds: settings.sample_seconds,
        ..verbatim_projection::Settings::default()
    };
    let projection = Projection::new(pace, background.clone(), &mut registry);
    let pem = match &settings.seal.key {
        Some(pem) => pem.clone(),
        None => folder.own_seal_key()?,
    };
    let origin = settings.seal.origin.as_deref();
    let sealing = Sealing {
        rows: stores.journal.clone(),
        store: stores.seal.clone(),
        signer: Arc::new(signer_of(&*stores.journal, origin, &pem).context("SEAL_KEY_FILE")?),
        old_keys: settings.seal.old_keys.clone(),
        settings: settings.seal.pace.clone(),
    };
    let projected = verbatim_projection::Ports {
        journal: Arc::clone(&journal),
        bus: Arc::clone(&bus),
        views: stores.views.clone(),
        state: stores.state.clone(),
        keys: vault.clone(),
        sealing: Some(sealing),
        analytics: stores.analytics.clone(),
    };
    let asked = Arc::clone(&bus);
    let analytics = stores.analytics.reports(journal.id());
    let seal = Prover { rows: stores.journal.clone(), store: stores.seal.clone() };
    let ports = verbatim_gateway::Ports {
        journal,
        bus,
        views: stores.views.clone(),
        keys: vault,
        seal: Some(seal),
        analytics,
    };
    let gateway = Gateway::new(ports, settings.gateway.clone(), &mut registry)?;

    let listener = super::listen(&settings)?;
    banner(&settings, &listener, folder)?;
    warn_of_a_weak_secret(&settings);

    // The gateway ends first, then those that it needs.
    let mut roles = Roles::default();
    let registry = Arc::new(registry);
    let limit = settings.gateway.shutdown_timeout + Duration::from_millis(500);
    roles.start("control", DRAIN_TIMEOUT, |end| {
        let control = control::listen(&folder.control());
        async move {
            match control {
                Ok(listener) => {
                    let handle = move |request, answering| {
                        stores.clone().answer(asked.clone(), request, answering)
                    };
                    control::serve(listener, handle, end).await;
                }
                Err(error) => {
                    tracing::warn!(error = %format_args!("{error:#}"), "backup and rebuild of the running server are off");
                    end.cancelled().await;
                }
            }
            Ok(())
        }
    });
    roles.start("gateway", limit, |end| gateway.run(listener, registry, end));
    roles.start("aggregate", DRAIN_TIMEOUT, |end| aggregate.run(end));
    roles.start(
        "projection",
        DRAIN_TIMEOUT,
        |end| async move { projection.run(projected, end).await },
    );
    let ended = roles.run(signals).await;
    let _ = std::fs::remove_file(folder.control());
    ended
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
