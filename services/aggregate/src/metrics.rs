//! What operators see of the service.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use verbatim_protocol::{ErrorCode, Reply};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) committed: Counter,
    pub(crate) duplicate: Counter,
    pub(crate) rejected: Counter,
    pub(crate) expired: Counter,
    pub(crate) unavailable: Counter,
    pub(crate) failed: Counter,
    pub(crate) append_events: Histogram,
    pub(crate) append_duration: Histogram,
    pub(crate) command_duration: Histogram,
    pub(crate) hot_aggregates: Gauge,
    pub(crate) hits: Counter<u64, AtomicU64>,
    pub(crate) misses: Counter<u64, AtomicU64>,
    pub(crate) queued: Gauge,
    pub(crate) lanes: Gauge,
    pub(crate) fenced: Counter,
    pub(crate) dead_letters: Counter,
}

impl Metrics {
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let outcomes = Family::<Outcome, Counter>::default();
        let outcome = |outcome| outcomes.get_or_create_owned(&Outcome { outcome });
        // 50 µs to 26 s.
        let seconds = || Histogram::new(exponential_buckets(0.000_05, 2.0, 20));
        let metrics = Self {
            committed: outcome("committed"),
            duplicate: outcome("duplicate"),
            rejected: outcome("rejected"),
            expired: outcome("expired"),
            unavailable: outcome("unavailable"),
            failed: outcome("failed"),
            append_events: Histogram::new(exponential_buckets(1.0, 2.0, 15)),
            append_duration: seconds(),
            command_duration: seconds(),
            hot_aggregates: Gauge::default(),
            hits: Counter::default(),
            misses: Counter::default(),
            queued: Gauge::default(),
            lanes: Gauge::default(),
            fenced: Counter::default(),
            dead_letters: Counter::default(),
        };
        registry.register("verbatim_commands", "Commands, by what became of them", outcomes);
        registry.register(
            "verbatim_append_events",
            "Events in one append",
            metrics.append_events.clone(),
        );
        registry.register_with_unit(
            "verbatim_append_duration",
            "Time that the journal took for one append",
            Unit::Seconds,
            metrics.append_duration.clone(),
        );
        registry.register_with_unit(
            "verbatim_command_duration",
            "Time from taking a command to its reply",
            Unit::Seconds,
            metrics.command_duration.clone(),
        );
        registry.register(
            "verbatim_hot_aggregates",
            "Aggregates kept in memory",
            metrics.hot_aggregates.clone(),
        );
        registry.register(
            "verbatim_hot_aggregate_hits",
            "Commands that found their aggregate in memory",
            metrics.hits.clone(),
        );
        registry.register(
            "verbatim_hot_aggregate_misses",
            "Commands that had to wait for their aggregate",
            metrics.misses.clone(),
        );
        registry.register(
            "verbatim_queued_commands",
            "Commands that wait to be taken",
            metrics.queued.clone(),
        );
        registry.register(
            "verbatim_owned_lanes",
            "Lanes that this worker owns, of those that workers share",
            metrics.lanes.clone(),
        );
        registry.register(
            "verbatim_fenced_appends",
            "Appends that came to nothing because their lane had changed hands",
            metrics.fenced.clone(),
        );
        registry.register(
            "verbatim_dead_letters",
            "Commands that were set aside because they can't be handled",
            metrics.dead_letters.clone(),
        );
        metrics
    }

    pub(crate) fn count(&self, reply: &Reply) {
        let counter = match reply {
            Ok(committed) if committed.duplicate => &self.duplicate,
            Ok(_) => &self.committed,
            Err(failure) => match failure.code {
                ErrorCode::Unavailable => &self.unavailable,
                ErrorCode::Internal => &self.failed,
                _ => &self.rejected,
            },
        };
        counter.inc();
    }
}
