//! Who has a socket, as far as the gateways have told.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, warn};
use verbatim_bus::{Bus, PresenceMessage};
use verbatim_domain::UserId;
use verbatim_protocol::presence::{Announcement, Applied, Change, GatewayId, Replica};

/// A snapshot that was asked for is not asked for again this soon.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// A replica of all gateways' sockets, and how to mend it.
pub(super) struct Presence {
    bus: Arc<dyn Bus>,
    replica: Replica,
    /// When each gateway was last heard.
    heard: HashMap<GatewayId, Instant>,
    /// When each gateway was last asked for a snapshot.
    asked: HashMap<GatewayId, Instant>,
    silence: Duration,
}

impl Presence {
    /// An empty replica; every gateway is asked for its sockets. Whoever calls this listens already.
    pub fn new(bus: Arc<dyn Bus>, silence: Duration) -> Self {
        bus.publish_presence(PresenceMessage::SnapshotWanted(None));
        let replica = Replica::default();
        Self { bus, replica, heard: HashMap::new(), asked: HashMap::new(), silence }
    }

    /// Takes in what a gateway says; `left` is called for each user whose last socket went.
    pub fn hear(&mut self, announcement: &Announcement, left: impl FnMut(&UserId)) {
        let gateway = announcement.gateway;
        if announcement.change == Change::Gone {
            self.forget(gateway, left);
            return;
        }
        let now = Instant::now();
        self.heard.insert(gateway, now);
        if matches!(announcement.change, Change::Snapshot { .. }) {
            self.asked.remove(&gateway);
        }
        if self.replica.apply(announcement.clone(), left) == Applied::Done {
            return;
        }
        let asked = self.asked.get(&gateway);
        if asked.is_none_or(|asked| now.duration_since(*asked) >= ASK_AGAIN) {
            debug!(gateway = %gateway.0, "an announcement is missing, asking for all sockets");
            self.asked.insert(gateway, now);
            self.bus.publish_presence(PresenceMessage::SnapshotWanted(Some(gateway)));
        }
    }

    /// Gives up the gateways that have been silent for too long.
    pub fn expire(&mut self, mut left: impl FnMut(&UserId)) {
        let now = Instant::now();
        let silent = self.heard.iter().filter(|(_, at)| now.duration_since(**at) >= self.silence);
        let silent: Vec<_> = silent.map(|(gateway, _)| *gateway).collect();
        for gateway in silent {
            warn!(gateway = %gateway.0, "silent for too long: taken for gone");
            self.forget(gateway, &mut left);
        }
    }

    fn forget(&mut self, gateway: GatewayId, left: impl FnMut(&UserId)) {
        self.heard.remove(&gateway);
        self.asked.remove(&gateway);
        self.replica.apply(Announcement { gateway, number: 0, change: Change::Gone }, left);
    }

    /// How many sockets there are, and users with one.
    pub fn totals(&self) -> (u64, u64) {
        (self.replica.total() as u64, self.replica.total_users() as u64)
    }

    pub fn is_connected(&self, user: &UserId) -> bool {
        self.replica.is_connected(user)
    }
}
