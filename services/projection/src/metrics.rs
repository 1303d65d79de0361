//! What the service measures.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

#[derive(Clone)]
pub(crate) struct Metrics {
    pub projector: ProjectorMetrics,
    pub push: PushMetrics,
    pub offline: OfflineMetrics,
    pub seal: SealMetrics,
    pub analytics: AnalyticsMetrics,
}

#[derive(Clone)]
pub(crate) struct ProjectorMetrics {
    pub lag_events: Gauge,
    pub lag_seconds: Gauge<f64, AtomicU64>,
    pub apply_seconds: Histogram,
    pub batch_events: Histogram,
}

#[derive(Clone)]
pub(crate) struct PushMetrics {
    pub frames: Counter,
    pub messages: Counter,
    pub delay_seconds: Histogram,
    pub lag_events: Gauge,
}

#[derive(Clone)]
pub(crate) struct OfflineMetrics {
    pub lag_events: Gauge,
    pub watches: Gauge,
    pub commands_in_flight: Gauge,
    pub commands_settled: Counter,
    pub commands_rejected: Counter,
    pub departures: Counter,
}

#[derive(Clone, Default)]
pub(crate) struct SealMetrics {
    pub lag_events: Gauge,
    pub checkpoints: Counter,
    pub published: Counter,
    pub halted: Gauge,
}

#[derive(Clone)]
pub(crate) struct AnalyticsMetrics {
    pub lag_events: Gauge,
    pub apply_seconds: Histogram,
}

/// 50 µs to 26 s.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.000_05, 2.0, 20))
}

impl Metrics {
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            projector: ProjectorMetrics {
                lag_events: Gauge::default(),
                lag_seconds: Gauge::default(),
                apply_seconds: seconds(),
                batch_events: Histogram::new(exponential_buckets(1.0, 2.0, 11)),
            },
            push: PushMetrics {
                frames: Counter::default(),
                messages: Counter::default(),
                delay_seconds: seconds(),
                lag_events: Gauge::default(),
            },
            offline: OfflineMetrics {
                lag_events: Gauge::default(),
                watches: Gauge::default(),
                commands_in_flight: Gauge::default(),
                commands_settled: Counter::default(),
                commands_rejected: Counter::default(),
                departures: Counter::default(),
            },
            seal: SealMetrics::default(),
            analytics: AnalyticsMetrics { lag_events: Gauge::default(), apply_seconds: seconds() },
        };
        metrics.projector.register(registry);
        metrics.push.register(registry);
        metrics.offline.register(registry);
        metrics.seal.register(registry);
        metrics.analytics.register(registry);
        metrics
    }
}

impl ProjectorMetrics {
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "verbatim_projection_lag_events",
            "Committed events that the views do not show yet",
            self.lag_events.clone(),
        );
        registry.register(
            "verbatim_projection_lag_seconds",
            "Age of the oldest event that the views do not show yet; 0 when they show all",
            self.lag_seconds.clone(),
        );
        registry.register(
            "verbatim_projection_apply_seconds",
            "Time that the views took to apply a batch",
            self.apply_seconds.clone(),
        );
        registry.register(
            "verbatim_projection_batch_events",
            "Events applied to the views at once",
            self.batch_events.clone(),
        );
    }
}

impl PushMetrics {
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "verbatim_push_frames",
            "Frames published to the gateways, heartbeats included",
            self.frames.clone(),
        );
        registry.register(
            "verbatim_push_messages",
            "Messages published to the gateways",
            self.messages.clone(),
        );
        registry.register(
            "verbatim_push_delay_seconds",
            "Time from a message's commit to its frame",
            self.delay_seconds.clone(),
        );
        registry.register(
            "verbatim_push_lag_events",
            "Committed events that are in no frame yet",
            self.lag_events.clone(),
        );
    }
}

impl OfflineMetrics {
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "verbatim_offline_lag_events",
            "Committed events that the offline reactor is not done with",
            self.lag_events.clone(),
        );
        registry.register(
            "verbatim_offline_watches",
            "Users of whom it is not known whether what was pushed has arrived",
            self.watches.clone(),
        );
        registry.register(
            "verbatim_offline_commands_in_flight",
            "Notification commands that wait for their reply",
            self.commands_in_flight.clone(),
        );
        registry.register(
            "verbatim_offline_commands_settled",
            "Notification commands that were carried out, now or before",
            self.commands_settled.clone(),
        );
        registry.register(
            "verbatim_offline_commands_rejected",
            "Notification commands that were refused for good; each is logged",
            self.commands_rejected.clone(),
        );
        registry.register(
            "verbatim_offline_departures",
            "Users who went with messages not known to have arrived",
            self.departures.clone(),
        );
    }
}

impl SealMetrics {
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "verbatim_seal_lag_events",
            "Committed events that no checkpoint vouches for yet",
            self.lag_events.clone(),
        );
        registry.register(
            "verbatim_seal_checkpoints",
            "Checkpoints that were signed",
            self.checkpoints.clone(),
        );
        registry.register(
            "verbatim_seal_published",
            "Checkpoints that were handed out",
            self.published.clone(),
        );
        registry.register(
            "verbatim_seal_halted",
            "1 once the log was found to be another than the one that was sealed",
            self.halted.clone(),
        );
    }
}

impl AnalyticsMetrics {
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "verbatim_analytics_lag_events",
            "Committed events that the analytics do not show yet",
            self.lag_events.clone(),
        );
        registry.register(
            "verbatim_analytics_apply_seconds",
            "Time that the analytics took to take a batch in",
            self.apply_seconds.clone(),
        );
    }
}
