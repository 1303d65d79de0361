//! What can be tuned.

use std::time::Duration;

/// How the service paces itself. The defaults suit both forms of deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The most events taken at once.
    pub batch_events: usize,
    /// The longest pause between two writes of the views; it is shorter after a quick one, and over
    /// when the views know of somebody who waits for them. What comes meanwhile is written together:
    /// a write costs almost the same for one event as for a dozen.
    pub longest_rest: Duration,
    /// How long events are gathered before the analytics take them in, unless somebody is known to wait
    /// for them, or there are many.
    pub analytics_pause: Duration,
    /// After this long without news from the feed, a reader asks the journal.
    pub feed_silence: Duration,
    /// After this long without a frame, an empty one tells gateways that the reactor lives.
    pub heartbeat: Duration,
    /// A frame is closed once its messages and recipients take this many bytes.
    pub frame_bytes: usize,
    /// The most members, over all conversations, that a reactor remembers between batches.
    pub cached_members: usize,
    /// How long a user may be without a socket before what they have not received is noted.
    pub departure_grace: Duration,
    /// How long clients have to reconnect after the service started, before those who were pushed
    /// to in its former life count as gone.
    pub startup_grace: Duration,
    /// How long gateways have to tell their sockets after the service started.
    pub presence_settle: Duration,
    /// A gateway that is silent for this long is gone, and its sockets with it.
    pub gateway_silence: Duration,
    /// The most notification commands that wait for their replies.
    pub commands_in_flight: usize,
    /// The most departed users looked after at once.
    pub departures_at_once: usize,
    /// How many messages of a departed user are noted at once.
    pub departure_page: u32,
    /// The least time between two saves of the offline reactor's checkpoint.
    pub save_interval: Duration,
    /// Seconds from one sample of the connections to the next; a divisor of 3,600.
    pub sample_seconds: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            batch_events: 1_000,
            longest_rest: Duration::from_millis(10),
            analytics_pause: Duration::from_millis(500),
            feed_silence: Duration::from_millis(250),
            heartbeat: Duration::from_secs(1),
            frame_bytes: 512 * 1024,
            cached_members: 1_000_000,
            departure_grace: Duration::from_secs(2),
            startup_grace: Duration::from_secs(5),
            presence_settle: Duration::from_secs(1),
            gateway_silence: Duration::from_secs(10),
            commands_in_flight: 256,
            departures_at_once: 4,
            departure_page: 64,
            save_interval: Duration::from_millis(250),
            sample_seconds: 60,
        }
    }
}
