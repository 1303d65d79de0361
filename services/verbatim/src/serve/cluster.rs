//! The cluster form: one or several of the services in this process, everything on `PostgreSQL` and
//! NATS, which all processes share.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use prometheus_client::registry::Registry;
use secrecy::ExposeSecret;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use verbatim_aggregate::Aggregate;
use verbatim_analytics::{PostgresAnalytics, Reports};
use verbatim_bus::{Bus, Nats};
use verbatim_gateway::Gateway;
use verbatim_journal::{Log, PostgresJournal};
use verbatim_keys::{PostgresKeys, Vault};
use verbatim_postgres::Database;
use verbatim_projection::{Projection, Sealing};
use verbatim_seal::{PostgresSeal, Prover};
use verbatim_views::PostgresViews;

use super::ops::{self, Probe};
use super::roles::Roles;
use super::standby::Standby;
use super::{DRAIN_TIMEOUT, Signals, warn_of_a_weak_secret};
use crate::log;
use crate::migrate;
use crate::settings::{Cluster, Role, Seal, Serve, signer_of};

/// Connections to `PostgreSQL` that a process uses at once, but for a few while it makes views anew.
const CONNECTIONS: u32 = 16;

/// How long the aggregate service may take to finish and give its lanes up.
const AGGREGATE_LIMIT: Duration = Duration::from_secs(4);

pub async fn serve(mut settings: Serve, cluster: &Cluster, log: &log::Log) -> anyhow::Result<()> {
    let signals = Signals::new()?;
    let database = Database::connect(cluster.database_url.expose_secret(), CONNECTIONS)
        .await
        .context("DATABASE_URL")?;
    migrate::all(&database).await?;
    let journal = Arc::new(PostgresJournal::open(database.clone()).await?);
    let nats = Arc::new(Nats::connect(cluster.nats.clone()).await.context("NATS_URL")?);
    let bus: Arc<dyn Bus> = nats.clone();

    let vault = match settings.master_key.take() {
        Some(master_key) => {
            let keys = Arc::new(PostgresKeys::new(database.clone()));
            let vault = Vault::open(keys, master_key).await.context("MASTER_KEY")?;
            verbatim_projection::destroy_erased(&*journal, &vault).await?;
            Some(Arc::new(vault))
        }
        None => None,
    };
    let keys = || {
        vault.clone().context("MASTER_KEY: it is needed, unless all that is done is to aggregate")
    };

    let mut registry = Registry::default();
    log::metrics(log, &mut registry);
    let has = |role| cluster.roles.contains(&role);
    if has(Role::Aggregate) {
        nats.ensure_stream().await.context("NATS_URL")?;
    }
    let aggregate = has(Role::Aggregate).then(|| {
        let settings = verbatim_aggregate::Settings::default();
        Aggregate::new(journal.clone(), bus.clone(), settings, &mut registry)
            .sharing(journal.clone())
    });
    let pace = verbatim_projection::Settings {
        sample_seconds: settings.sample_seconds,
        ..verbatim_projection::Settings::default()
    };
    let store = Arc::new(PostgresSeal::new(database.clone()));
    let standby = if has(Role::Projection) {
        Some(Standby {
            service: Projection::new(pace, Handle::current(), &mut registry),
            database: database.clone(),
            journal: journal.clone(),
            bus: bus.clone(),
            keys: keys()?,
            sealing: sealing(&settings, &journal, &store)?,
        })
    } else {
        None
    };
    let gateway = if has(Role::Gateway) {
        let views = Arc::new(PostgresViews::open_reader(database.clone(), journal.id()).await?);
        let analytics = PostgresAnalytics::reader(database.clone(), journal.id());
        let ports = verbatim_gateway::Ports {
            journal: journal.clone(),
            bus,
            views,
            keys: keys()?,
            seal: Some(Prover { rows: journal.clone(), store }),
            analytics: Reports::beside(Arc::new(analytics), journal.id()),
        };
        warn_of_a_weak_secret(&settings);
        Some(Gateway::new(ports, settings.gateway.clone(), &mut registry)?)
    } else {
        None
    };

    let listener = super::listen(&settings)?;
    banner(&listener, cluster)?;

    // The gateway ends first, then those that it needs.
    let mut roles = Roles::default();
    let registry = Arc::new(registry);
    let limit = settings.gateway.shutdown_timeout + Duration::from_millis(500);
    if let Some(gateway) = gateway {
        roles.start("gateway", limit, |end| gateway.run(listener, registry, end));
    } else {
        let probe = probe(journal, nats.clone());
        roles.start("ops", DRAIN_TIMEOUT, |end| ops::serve(listener, registry, probe, end));
    }
    if let Some(aggregate) = aggregate {
        roles.start("aggregate", AGGREGATE_LIMIT, |end| aggregate.run(end));
    }
    if let Some(standby) = standby {
        roles.start("projection", DRAIN_TIMEOUT, |end| standby.run(end));
    }
    let ended = roles.run(signals).await;
    nats.close();
    // The last replies and farewells.
    nats.flush(Duration::from_millis(500)).await;
    ended
}

/// What the log is sealed with, if there is a key.
fn sealing(
    settings: &Serve,
    journal: &Arc<PostgresJournal>,
    store: &Arc<PostgresSeal>,
) -> anyhow::Result<Option<Sealing>> {
    let Seal { key, origin, old_keys, pace } = &settings.seal;
    let Some(pem) = key else {
        tracing::warn!("SEAL_KEY_FILE: not given, so this process does not seal the log");
        return Ok(None);
    };
    let signer = signer_of(&**journal, origin.as_deref(), pem).context("SEAL_KEY_FILE")?;
    Ok(Some(Sealing {
        rows: journal.clone(),
        store: store.clone(),
        signer: Arc::new(signer),
        old_keys: old_keys.clone(),
        settings: pace.clone(),
    }))
}

/// Whether the servers that this process needs can be reached.
fn probe(journal: Arc<PostgresJournal>, nats: Arc<Nats>) -> Probe {
    Arc::new(move || {
        let (journal, nats) = (journal.clone(), nats.clone());
        Box::pin(async move {
            if !nats.is_connected() {
                return Err("NATS can't be reached".to_owned());
            }
            match journal.head().await {
                Ok(_) => Ok(()),
                Err(_) => Err("the journal can't be read".to_owned()),
            }
        })
    })
}

fn banner(listener: &TcpListener, cluster: &Cluster) -> anyhow::Result<()> {
    let address = listener.local_addr()?;
    let roles: Vec<_> = cluster.roles.iter().map(|role| role.as_str()).collect();
    println!("Verbatim {} listens on http://{address}", env!("CARGO_PKG_VERSION"));
    println!("  roles   {}", roles.join(", "));
    println!("  data    PostgreSQL and NATS JetStream");
    if cluster.roles.contains(&Role::Gateway) {
        println!("  token   JWT_SECRET=… verbatim token --user alice");
        println!("  docs    http://{address}/docs");
    } else {
        println!("  health  http://{address}/readyz");
        println!("  metrics http://{address}/metrics");
    }
    Ok(())
}
