//! What follows from events: read models, pushes, notes for those who were away, and the seal.
//!
//! On a message's way this comes after the aggregate service: it hears of committed events on the
//! feed, or reads them from the journal. Four readers, each with a tail (`tail`) and a
//! position of its own, so that none waits for another:
//! - the projector (`projector`) keeps the views; it has no handle on bus or sockets;
//! - what is counted (`analytics`) is kept alike, at a slower pace;
//! - the push reactor (`push`) makes frames for the gateways;
//! - the offline reactor (`offline`) has a notification made for each message and recipient without
//!   a socket.
//!
//! Beside them, `erasures` sees to it that what was erased stays so.
//! Beside them, where there is a key, the sealer (`sealer`) goes through the log's rows at its own
//! pace, and the publisher (`publisher`) hands its checkpoints out.
//!
//! Invariants kept here:
//! - a reader sees every event once and in order; a hole or an unknown event halts it, and with it
//!   the service;
//! - push frames are contiguous, and a restarted reactor has a higher epoch;
//! - the offline reactor's checkpoint passes an event only once all its commands are settled.

mod analytics;
mod erasures;
mod members;
mod metrics;
mod offline;
mod projector;
mod publisher;
mod push;
mod rebuild;
mod retry;
mod sealer;
mod settings;
mod tail;
#[cfg(test)]
mod world;

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::anyhow;
use futures::FutureExt;
use futures::future::BoxFuture;
use prometheus_client::registry::Registry;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, error, info_span};
use verbatim_analytics::Analytics;
use verbatim_bus::Bus;
use verbatim_journal::Journal;
use verbatim_keys::Vault;
use verbatim_state::State;
use verbatim_views::Views;

pub use erasures::destroy_erased;
pub use publisher::Destination;
pub use rebuild::{Compared, catch_up, check, rebuild};
pub use sealer::{SealSettings, Sealing};
pub use settings::Settings;

use metrics::Metrics;

/// What the service reads from and writes to.
#[derive(Clone)]
pub struct Ports {
    pub journal: Arc<dyn Journal>,
    pub bus: Arc<dyn Bus>,
    pub views: Arc<dyn Views>,
    pub state: Arc<dyn State>,
    /// Opens what is pushed.
    pub keys: Arc<Vault>,
    /// Without it the log isn't sealed.
    pub sealing: Option<Sealing>,
    pub analytics: Analytics,
}

/// The projection service. It may run, end and run again: each run begins where the stores say.
pub struct Projection {
    settings: Arc<Settings>,
    background: Handle,
    metrics: Metrics,
}

impl Projection {
    /// The service, not running yet. What nobody waits for runs in the `background`. Its metrics are
    /// registered under names with the prefix `verbatim_`.
    pub fn new(settings: Settings, background: Handle, metrics: &mut Registry) -> Self {
        let metrics = Metrics::register(metrics);
        Self { settings: Arc::new(settings), background, metrics }
    }

    /// Runs projector, reactors and sealer until `shutdown`.
    ///
    /// # Errors
    /// What halted one of them: a corrupt journal, corrupt views, a panic. The others are ended
    /// first. Unavailable ports are no error: they are tried again until they answer.
    pub async fn run(&self, ports: Ports, shutdown: CancellationToken) -> anyhow::Result<()> {
        let stop = shutdown.child_token();
        let Self { settings, background, metrics } = self;
        let here = &Handle::current();
        let sealing = ports.sealing.clone();
        let projector = projector::run(
            ports.clone(),
            settings.clone(),
            metrics.projector.clone(),
            stop.clone(),
        );
        let push = push::run(ports.clone(), settings.clone(), metrics.push.clone(), stop.clone());
        let erasures = erasures::run(ports.clone(), stop.clone());
        let counting = analytics::run(
            ports.clone(),
            settings.clone(),
            metrics.analytics.clone(),
            stop.clone(),
        );
        let offline = offline::run(ports, settings.clone(), metrics.offline.clone(), stop.clone());
        let mut tasks: Vec<Task<'_>> = vec![
            ("projector", here, Box::pin(projector)),
            ("push", here, Box::pin(push)),
            ("offline", here, Box::pin(offline)),
            ("erasures", here, Box::pin(erasures)),
            ("analytics", background, Box::pin(counting)),
        ];
        if let Some(sealing) = sealing {
            if let Some(destination) = sealing.settings.checkpoints_to.clone() {
                let (metrics, stop) = (metrics.seal.clone(), stop.clone());
                let publisher = publisher::run(sealing.clone(), destination, metrics, stop);
                tasks.push(("publisher", here, Box::pin(publisher.map(Ok))));
            }
            let sealer = sealer::run(sealing, metrics.seal.clone(), stop.clone());
            tasks.push(("sealer", background, Box::pin(sealer.map(Ok))));
        }
        supervise(tasks, &stop).await
    }
}

/// A task, its name, and where it runs.
type Task<'h> = (&'static str, &'h Handle, BoxFuture<'static, anyhow::Result<()>>);

/// Runs tasks until `stop`; the first that fails, panics or ends early stops all.
async fn supervise(
    tasks: impl IntoIterator<Item = Task<'_>>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let mut running = JoinSet::new();
    let mut names = HashMap::new();
    for (name, runtime, task) in tasks {
        let task = task.instrument(info_span!("reader", reader = name));
        names.insert(running.spawn_on(task, runtime).id(), name);
    }
    let mut outcome = Ok(());
    while let Some(joined) = running.join_next_with_id().await {
        let (id, ended) = match joined {
            Ok((id, Ok(()))) if !stop.is_cancelled() => (id, Err(anyhow!("it ended by itself"))),
            Ok((id, ended)) => (id, ended),
            Err(panic) => (panic.id(), Err(anyhow!(panic))),
        };
        let name = names.get(&id).copied().unwrap_or_default();
        if let Err(cause) = ended {
            error!(reader = name, error = format!("{cause:#}"), "halted");
            stop.cancel();
            outcome = outcome.and(Err(cause.context(format!("{name} halted"))));
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use verbatim_domain::conversation::ConversationKind;

    use super::*;
    use crate::world::{World, said, settings, started};

    fn idle(stop: &CancellationToken) -> BoxFuture<'static, anyhow::Result<()>> {
        let stop = stop.clone();
        Box::pin(async move {
            stop.cancelled().await;
            Ok(())
        })
    }

    #[tokio::test]
    async fn a_panic_ends_the_service_with_an_error_that_names_the_task() {
        let stop = CancellationToken::new();
        let panics: BoxFuture<'static, anyhow::Result<()>> = Box::pin(async { panic!("ouch") });
        let here = &Handle::current();
        let ended = supervise([("good", here, idle(&stop)), ("bad", here, panics)], &stop).await;
        let error = format!("{:#}", ended.expect_err("the panic is seen"));
        assert!(error.contains("bad halted") && error.contains("ouch"), "{error}");
    }

    #[tokio::test]
    async fn a_task_that_ends_by_itself_ends_the_service() {
        let stop = CancellationToken::new();
        let early: BoxFuture<'static, anyhow::Result<()>> = Box::pin(async { Ok(()) });
        let here = &Handle::current();
        let tasks = [("good", here, idle(&stop)), ("early", here, early)];
        assert!(supervise(tasks, &stop).await.is_err());
    }

    #[tokio::test]
    async fn an_unknown_event_halts_the_service_with_an_error_that_names_it() {
        let world = World::new();
        let service = Projection::new(settings(), Handle::current(), &mut Registry::default());
        let ports = world.ports();
        let running =
            tokio::spawn(async move { service.run(ports, CancellationToken::new()).await });
        world.until("all have begun", || world.state.saved() == Some(0)).await;
        world.journal.corrupt_from(1);
        world.commit(vec![said("c", "ann")]);
        let error = running.await.expect("no panic").expect_err("it can't be read");
        assert!(format!("{error:#}").contains("position 1: unknown event"), "{error:#}");
    }

    #[tokio::test]
    async fn the_service_projects_pushes_and_notes_and_registers_its_metrics() {
        let world = World::new();
        let stop = CancellationToken::new();
        let _keys = world.handle_commands(&stop);
        let mut registry = Registry::default();
        let service = Projection::new(settings(), Handle::current(), &mut registry);
        let mut frames = world.bus.subscribe_frames();
        let (ports, end) = (world.ports(), stop.clone());
        let running = tokio::spawn(async move { service.run(ports, end).await });
        world.until("all have begun", || world.state.saved() == Some(0)).await;
        let mut events = started("c", ConversationKind::Direct, &["ann", "bob"]);
        events.push(said("c", "ann"));
        let position = world.record(events);
        world.until("it is noted", || world.notified().len() == 1).await;
        world.until("it is shown", || world.views.checkpoint() > position).await;
        while frames.recv().await.expect("a frame").to < position {}
        stop.cancel();
        running.await.expect("no panic").expect("no error");
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("it is text");
        let mut samples = text.lines().filter(|line| !line.starts_with('#'));
        assert!(samples.all(|line| line.starts_with("verbatim_")), "{text}");
        assert!(text.contains("\nverbatim_projection_lag_events 0\n"), "{text}");
        assert!(text.contains("\nverbatim_offline_commands_settled_total 1\n"), "{text}");
    }

    #[tokio::test]
    async fn the_token_ends_all_without_an_error() {
        let stop = CancellationToken::new();
        let here = &Handle::current();
        let tasks = [("one", here, idle(&stop)), ("two", here, idle(&stop))];
        stop.cancel();
        assert!(supervise(tasks, &stop).await.is_ok());
    }
}
