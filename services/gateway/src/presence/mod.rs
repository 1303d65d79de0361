//! Who is connected, on this gateway and on all others.
//!
//! This gateway's sockets are in the replica at once, and are announced to everybody, numbered;
//! others' come as announcements. Presence decides about lists and notifications only: nothing is
//! lost by its being late.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use uuid::Uuid;
use verbatim_bus::{Bus, PresenceMessage};
use verbatim_domain::UserId;
use verbatim_protocol::presence::{Announcement, Applied, Change, Connection, GatewayId, Replica};

/// How often a gateway says that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// A gateway that is silent for so long is gone, and so are its sockets.
const SILENCE: Duration = Duration::from_secs(10);
/// A snapshot that was asked for is not asked for again this soon.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// This gateway's announcements, and a replica of everybody's.
pub struct Presence {
    gateway: GatewayId,
    bus: Arc<dyn Bus>,
    state: Mutex<State>,
}

struct State {
    /// Of this gateway's last announcement.
    number: u64,
    own: HashMap<Arc<str>, UserId>,
    replica: Replica,
    /// When each other gateway was last heard.
    heard: HashMap<GatewayId, Instant>,
    /// When each other gateway was last asked for its list.
    asked: HashMap<GatewayId, Instant>,
}

impl Presence {
    /// A gateway without sockets.
    pub fn new(bus: Arc<dyn Bus>) -> Self {
        let state = State {
            number: 0,
            own: HashMap::new(),
            replica: Replica::default(),
            heard: HashMap::new(),
            asked: HashMap::new(),
        };
        Self { gateway: GatewayId(Uuid::now_v7()), bus, state: Mutex::new(state) }
    }

    /// All sockets, one entry each, over all gateways.
    pub fn connections(&self) -> Vec<Connection> {
        self.state().replica.connections()
    }

    /// The number of sockets over all gateways.
    pub fn total(&self) -> usize {
        self.state().replica.total()
    }

    /// Whether the user has a socket on any gateway.
    pub fn is_connected(&self, user: &UserId) -> bool {
        self.state().replica.is_connected(user)
    }

    /// Counts and announces a socket of this gateway.
    pub fn connected(&self, user: &UserId, socket: &Arc<str>) {
        let mut state = self.state();
        state.own.insert(socket.clone(), user.clone());
        let change = Change::Connected { user_id: user.clone(), socket_id: socket.clone() };
        self.announce(&mut state, change);
    }

    /// Takes a socket of this gateway out, and announces it.
    pub fn disconnected(&self, user: &UserId, socket: &Arc<str>) {
        let mut state = self.state();
        if state.own.remove(socket).is_none() {
            return;
        }
        let change = Change::Disconnected { user_id: user.clone(), socket_id: socket.clone() };
        self.announce(&mut state, change);
    }

    /// Keeps the replica and tells others, until `shutdown`; then says that this gateway is gone.
    /// `paused` is called when the process was held up for so long that others have given it up.
    pub async fn run(&self, shutdown: CancellationToken, paused: impl Fn()) {
        let mut messages = self.bus.subscribe_presence();
        self.bus.publish_presence(PresenceMessage::SnapshotWanted(None));
        let mut beat = interval(HEARTBEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last_beat = Instant::now();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                _ = beat.tick() => {
                    let now = Instant::now();
                    if now.duration_since(last_beat) > SILENCE {
                        warn!("held up for longer than others wait: closing all sockets");
                        paused();
                    }
                    last_beat = now;
                    self.heartbeat(now);
                }
                message = messages.recv() => match message {
                    Some(message) => self.hear(&message),
                    None => break,
                },
            }
        }
        self.gone();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Numbers a change, applies it, and publishes it. The lock is held throughout, so that numbers
    /// go out in order.
    fn announce(&self, state: &mut State, change: Change) {
        state.number += 1;
        let announcement = Announcement { gateway: self.gateway, number: state.number, change };
        state.replica.apply(announcement.clone(), |_| ());
        self.publish(announcement);
    }

    fn publish(&self, announcement: Announcement) {
        self.bus.publish_presence(PresenceMessage::Announcement(Arc::new(announcement)));
    }

    fn heartbeat(&self, now: Instant) {
        let mut state = self.state();
        let number = state.number;
        self.publish(Announcement { gateway: self.gateway, number, change: Change::Heartbeat });
        let silent = state.heard.iter().filter(|(_, at)| now.duration_since(**at) >= SILENCE);
        let silent: Vec<_> = silent.map(|(gateway, _)| *gateway).collect();
        for gateway in silent {
            warn!(gateway = %gateway.0, "a gateway has been silent for too long");
            state.forget(gateway);
        }
    }

    fn hear(&self, message: &PresenceMessage) {
        match message {
            PresenceMessage::SnapshotWanted(gateway) => {
                if gateway.is_none_or(|gateway| gateway == self.gateway) {
                    self.publish_snapshot();
                }
            }
            // What this gateway says of itself is in the replica already.
            PresenceMessage::Announcement(announcement) if announcement.gateway == self.gateway => {
            }
            PresenceMessage::Announcement(announcement) => self.learn(announcement),
        }
    }

    fn learn(&self, announcement: &Announcement) {
        let mut state = self.state();
        let gateway = announcement.gateway;
        if announcement.change == Change::Gone {
            state.forget(gateway);
            return;
        }
        let now = Instant::now();
        state.heard.insert(gateway, now);
        if matches!(announcement.change, Change::Snapshot { .. }) {
            state.asked.remove(&gateway);
        }
        if state.replica.apply(announcement.clone(), |_| ()) == Applied::Done {
            return;
        }
        let asked = state.asked.get(&gateway);
        if asked.is_none_or(|asked| now.duration_since(*asked) >= ASK_AGAIN) {
            debug!(gateway = %gateway.0, "an announcement is missing, asking for all sockets");
            state.asked.insert(gateway, now);
            self.bus.publish_presence(PresenceMessage::SnapshotWanted(Some(gateway)));
        }
    }

    fn publish_snapshot(&self) {
        let state = self.state();
        let sockets = state.own.iter().map(|(socket, user)| (user.clone(), socket.clone()));
        let change = Change::Snapshot { sockets: sockets.collect() };
        self.publish(Announcement { gateway: self.gateway, number: state.number, change });
    }

    fn gone(&self) {
        let number = self.state().number;
        self.publish(Announcement { gateway: self.gateway, number, change: Change::Gone });
    }
}

impl State {
    fn forget(&mut self, gateway: GatewayId) {
        self.heard.remove(&gateway);
        self.asked.remove(&gateway);
        let gone = Announcement { gateway, number: 0, change: Change::Gone };
        self.replica.apply(gone, |_| ());
    }
}

#[cfg(test)]
mod tests;
