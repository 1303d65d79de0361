//! The aggregate service: takes commands from the bus, decides them, appends what they bring about
//! to the journal, and replies.
//!
//! A message comes here from a gateway and leaves as a committed event. One loop does it all: while
//! one append is under way, the next batch is decided on states that aren't committed yet, so that
//! one busy conversation fills whole batches too.
//!
//! Invariants kept here:
//! - nothing is answered before everything that its decision was based on is committed;
//! - what was built on an append that came to nothing is void, and decided anew in the same order;
//! - a command whose key was used before gets the original's answer, also if it would be rejected
//!   today;
//! - an append with an unknown outcome is looked for by its key, and never called a failure for
//!   good;
//! - commands of one aggregate are decided in the order in which they came;
//! - where workers share the journal, each decides only for the lanes that it owns, and an append for
//!   a lane that has changed hands comes to nothing.

mod answer;
mod batch;
mod cache;
mod lanes;
mod load;
mod metrics;
mod owner;
mod ownership;
mod pending;
mod settle;
mod state;
#[cfg(test)]
mod tests;
mod unknown;
mod worker;

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;
use verbatim_bus::Bus;
use verbatim_journal::{Journal, Lanes};

use metrics::Metrics;
use owner::Owner;
use state::{Decide, State};
use worker::Worker;

/// How much the service does at once and keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Commands decided into one append.
    pub max_batch: usize,
    /// Events past which an append takes no further command; one command may exceed it.
    pub max_batch_events: usize,
    /// Aggregates and their members kept in memory.
    pub hot_members: usize,
    /// Events of an aggregate between two snapshots.
    pub snapshot_every: u64,
    /// Reads at once that load aggregates.
    pub max_loads: usize,
    /// Aggregates loaded by one read; one with more than a page of events is loaded by itself.
    pub load_batch: usize,
    /// Commands that may wait for their aggregates to be loaded.
    pub max_parked: usize,
    /// Events read at once when an aggregate is loaded.
    pub load_page: usize,
    /// How often a command is decided anew because another writer got between.
    pub max_conflicts: u32,
    /// How long lanes stay this worker's after it was last heard, where workers share the journal. Long
    /// enough that every command that it may have answered has expired before the next owner reads it
    /// again: no shorter than a command's deadline and `renew_every` together.
    pub lease: Duration,
    pub renew_every: Duration,
    /// The last commands' keys that are remembered, so that a repeated one costs no append.
    pub recent_keys: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_batch: 512,
            max_batch_events: 8_192,
            hot_members: 500_000,
            snapshot_every: 500,
            max_loads: 4,
            load_batch: 16,
            max_parked: 1_024,
            load_page: 500,
            max_conflicts: 3,
            lease: Duration::from_secs(8),
            renew_every: Duration::from_secs(2),
            recent_keys: 65_536,
        }
    }
}

/// The aggregate service.
pub struct Aggregate {
    journal: Arc<dyn Journal>,
    bus: Arc<dyn Bus>,
    lanes: Option<Arc<dyn Lanes>>,
    settings: Settings,
    metrics: Arc<Metrics>,
    decide: Decide,
}

impl Aggregate {
    /// A worker that has the journal for itself.
    pub fn new(
        journal: Arc<dyn Journal>,
        bus: Arc<dyn Bus>,
        settings: Settings,
        metrics: &mut Registry,
    ) -> Self {
        let metrics = Arc::new(Metrics::new(metrics));
        Self { journal, bus, lanes: None, settings, metrics, decide: State::decide }
    }

    /// One of several workers that share the journal: it handles the lanes that it owns.
    #[must_use]
    pub fn sharing(self, lanes: Arc<dyn Lanes>) -> Self {
        Self { lanes: Some(lanes), ..self }
    }

    /// Handles commands until `shutdown`, then finishes those that were queued by then.
    ///
    /// # Errors
    /// When the journal is corrupt, or something panicked that isn't a single command's decision:
    /// the process should end. Commands under way read as `unavailable`.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let owner = self.lanes.map(|lanes| Owner::new(lanes, &self.settings));
        let worker =
            Worker::new(self.journal, self.bus, owner, self.settings, self.metrics, self.decide);
        AssertUnwindSafe(worker.run(shutdown))
            .catch_unwind()
            .await
            .unwrap_or_else(|_| Err(anyhow::anyhow!("the aggregate service panicked")))
    }
}

impl fmt::Debug for Aggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aggregate").field("settings", &self.settings).finish_non_exhaustive()
    }
}
