//! What operators see of the gateway.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::auth::Rejection;

/// A request's kind, by its event's name, and what became of it: `ok` or the error's code.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    pub kind: &'static str,
    pub outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabel {
    pub reason: &'static str,
}

/// The gateway's metrics; shared by all its parts.
#[derive(Debug)]
pub struct Metrics {
    pub requests: Family<RequestLabels, Counter>,
    /// Requests that were refused before they were worked on.
    pub refusals: Family<ReasonLabel, Counter>,
    /// From a send's receipt to its answer.
    pub send_seconds: Histogram,
    /// From a message's commit to its hand-over to a socket.
    pub push_seconds: Histogram,
    pub sockets: Gauge,
    pub connections: Gauge,
    pub disconnects: Family<ReasonLabel, Counter>,
    pub authentication_failures: Family<ReasonLabel, Counter>,
    pub unknown_events: Counter,
    pub messages_pushed: Counter,
    pub messages_replayed: Counter,
    pub queued_requests: Gauge,
    pub queued_packets: Gauge,
    /// Sockets whose transport was closed because they left too much unread.
    pub slow_readers: Counter,
    /// Pushes that a joining socket has to read again, because it could not keep them.
    pub join_overflows: Counter,
    pub frames: Counter,
    pub frame_gaps: Counter,
    pub frames_refused: Counter,
    pub mark_commands: Counter,
    pub marks_dropped: Counter,
}

/// 50 µs to 26 s.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.000_05, 2.0, 20))
}

/// 1 ms to 65 s: message times have no finer resolution.
fn coarse_seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 17))
}

impl Metrics {
    /// Makes the metrics and shows them in `registry`.
    pub fn register(registry: &mut Registry) -> Arc<Self> {
        let metrics = Self {
            requests: Family::default(),
            refusals: Family::default(),
            send_seconds: seconds(),
            push_seconds: coarse_seconds(),
            sockets: Gauge::default(),
            connections: Gauge::default(),
            disconnects: Family::default(),
            authentication_failures: Family::default(),
            unknown_events: Counter::default(),
            messages_pushed: Counter::default(),
            messages_replayed: Counter::default(),
            queued_requests: Gauge::default(),
            queued_packets: Gauge::default(),
            slow_readers: Counter::default(),
            join_overflows: Counter::default(),
            frames: Counter::default(),
            frame_gaps: Counter::default(),
            frames_refused: Counter::default(),
            mark_commands: Counter::default(),
            marks_dropped: Counter::default(),
        };
        metrics.show_requests(registry);
        metrics.show_sockets(registry);
        metrics.show_delivery(registry);
        Arc::new(metrics)
    }

    fn show_requests(&self, registry: &mut Registry) {
        registry.register(
            "verbatim_requests",
            "Requests of clients, by kind and outcome",
            self.requests.clone(),
        );
        registry.register(
            "verbatim_refusals",
            "Requests refused before they were worked on, by reason",
            self.refusals.clone(),
        );
        registry.register(
            "verbatim_send_seconds",
            "Time from a send's receipt to its answer",
            self.send_seconds.clone(),
        );
        registry.register(
            "verbatim_queued_requests",
            "Requests of sockets that wait to be worked on",
            self.queued_requests.clone(),
        );
        registry.register(
            "verbatim_unknown_events",
            "Events of sockets that have no meaning, ignored",
            self.unknown_events.clone(),
        );
    }

    fn show_sockets(&self, registry: &mut Registry) {
        registry.register("verbatim_sockets", "Authenticated sockets", self.sockets.clone());
        registry.register("verbatim_connections", "Open TCP connections", self.connections.clone());
        registry.register(
            "verbatim_disconnects",
            "Sockets that went, by reason",
            self.disconnects.clone(),
        );
        registry.register(
            "verbatim_authentication_failures",
            "Handshakes that were refused, by reason",
            self.authentication_failures.clone(),
        );
        registry.register(
            "verbatim_slow_readers",
            "Sockets closed because they left too much unread",
            self.slow_readers.clone(),
        );
        registry.register(
            "verbatim_queued_packets",
            "Packets that wait for slow sockets",
            self.queued_packets.clone(),
        );
    }

    fn show_delivery(&self, registry: &mut Registry) {
        registry.register(
            "verbatim_push_seconds",
            "Time from a message's commit to its hand-over to a socket",
            self.push_seconds.clone(),
        );
        registry.register(
            "verbatim_messages_pushed",
            "Messages handed to sockets as they came",
            self.messages_pushed.clone(),
        );
        registry.register(
            "verbatim_messages_replayed",
            "Messages handed to sockets from the views",
            self.messages_replayed.clone(),
        );
        registry.register(
            "verbatim_join_overflows",
            "Times that a joining socket had to start its replay again",
            self.join_overflows.clone(),
        );
        registry.register("verbatim_frames", "Push frames taken", self.frames.clone());
        registry.register(
            "verbatim_frame_gaps",
            "Gaps between push frames, filled from the views",
            self.frame_gaps.clone(),
        );
        registry.register(
            "verbatim_frames_refused",
            "Push frames of an older epoch",
            self.frames_refused.clone(),
        );
        registry.register(
            "verbatim_mark_commands",
            "Commands that moved a delivered mark",
            self.mark_commands.clone(),
        );
        registry.register(
            "verbatim_marks_dropped",
            "Delivered marks given up, to be made up for at the next connect",
            self.marks_dropped.clone(),
        );
    }

    /// Counts a request by its event's name and outcome (`ok`, or an error's code).
    pub fn request(&self, kind: &'static str, outcome: &'static str) {
        self.requests.get_or_create(&RequestLabels { kind, outcome }).inc();
    }

    /// Counts a request that was refused before it was worked on.
    pub fn refusal(&self, reason: &'static str) {
        self.refusals.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Counts a socket that went.
    pub fn disconnected(&self, reason: &'static str) {
        self.disconnects.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Counts a handshake that was refused.
    pub fn authentication_failed(&self, rejection: Rejection) {
        let reason = match rejection {
            Rejection::NoToken => "no_token",
            Rejection::Expired => "expired",
            Rejection::Invalid => "invalid",
        };
        self.authentication_failures.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Notes how long a send took.
    pub fn send_took(&self, time: Duration) {
        self.send_seconds.observe(time.as_secs_f64());
    }
}
