//! Who is connected where.
//!
//! Each gateway announces its sockets, numbered; whoever hears a gap asks for the whole list.
//! Presence decides about notifications only: a message can't get lost by it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use verbatim_domain::UserId;

/// A gateway process; a restarted one is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GatewayId(pub Uuid);

/// What a gateway says of its sockets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Announcement {
    pub gateway: GatewayId,
    /// 1, 2, 3 … over this gateway's announcements; a heartbeat repeats the last.
    pub number: u64,
    pub change: Change,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Change {
    Connected {
        user_id: UserId,
        socket_id: Arc<str>,
    },
    Disconnected {
        user_id: UserId,
        socket_id: Arc<str>,
    },
    /// Nothing changed; the gateway is alive.
    Heartbeat,
    /// All of the gateway's sockets, as of `number`.
    Snapshot {
        sockets: Vec<(UserId, Arc<str>)>,
    },
    /// The gateway is gone, and its sockets with it.
    Gone,
}

/// One socket, in the answer to `connection:get`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Connection {
    pub user_id: UserId,
    pub socket_id: Arc<str>,
}

/// A replica of all gateways' sockets, built from their announcements.
#[derive(Debug, Default)]
pub struct Replica {
    gateways: HashMap<GatewayId, Gateway>,
    /// How many sockets each user has, over all gateways.
    users: HashMap<UserId, usize>,
}

#[derive(Debug, Default)]
struct Gateway {
    number: u64,
    sockets: BTreeMap<Arc<str>, UserId>,
}

/// What an announcement did to the replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    Done,
    /// An announcement is missing: ask the gateway for a snapshot.
    Gap,
}

impl Replica {
    /// Takes an announcement in. `left` is called for each user whose last socket went.
    pub fn apply(&mut self, announcement: Announcement, mut left: impl FnMut(&UserId)) -> Applied {
        let Announcement { gateway: id, number, change } = announcement;
        let known = self.gateways.get(&id).map_or(0, |gateway| gateway.number);
        match change {
            Change::Snapshot { sockets } => {
                if number < known {
                    return Applied::Done;
                }
                let fresh: BTreeMap<_, _> =
                    sockets.into_iter().map(|(user, socket)| (socket, user)).collect();
                // Count the new ones first, so that nobody who is in both seems to leave.
                for user in fresh.values() {
                    *self.users.entry(user.clone()).or_default() += 1;
                }
                let old = self.gateways.insert(id, Gateway { number, sockets: fresh });
                for user in old.into_iter().flat_map(|gateway| gateway.sockets.into_values()) {
                    self.remove_one(&user, &mut left);
                }
            }
            Change::Gone => {
                let gone = self.gateways.remove(&id);
                for user in gone.into_iter().flat_map(|gateway| gateway.sockets.into_values()) {
                    self.remove_one(&user, &mut left);
                }
            }
            Change::Heartbeat => {
                if number != known {
                    return Applied::Gap;
                }
                self.gateways.entry(id).or_default();
            }
            Change::Connected { .. } | Change::Disconnected { .. } if number <= known => {}
            Change::Connected { .. } | Change::Disconnected { .. } if number != known + 1 => {
                return Applied::Gap;
            }
            Change::Connected { user_id, socket_id } => {
                let gateway = self.gateways.entry(id).or_default();
                gateway.number = number;
                if gateway.sockets.insert(socket_id, user_id.clone()).is_none() {
                    *self.users.entry(user_id).or_default() += 1;
                }
            }
            Change::Disconnected { socket_id, .. } => {
                let gateway = self.gateways.entry(id).or_default();
                gateway.number = number;
                if let Some(user) = gateway.sockets.remove(&socket_id) {
                    self.remove_one(&user, &mut left);
                }
            }
        }
        Applied::Done
    }

    fn remove_one(&mut self, user: &UserId, left: &mut impl FnMut(&UserId)) {
        if let Some(count) = self.users.get_mut(user) {
            *count -= 1;
            if *count == 0 {
                self.users.remove(user);
                left(user);
            }
        }
    }

    /// Whether the user has a socket anywhere.
    #[must_use]
    pub fn is_connected(&self, user: &UserId) -> bool {
        self.users.contains_key(user)
    }

    /// The number of sockets anywhere.
    #[must_use]
    pub fn total(&self) -> usize {
        self.gateways.values().map(|gateway| gateway.sockets.len()).sum()
    }

    /// The number of users with a socket anywhere.
    #[must_use]
    pub fn total_users(&self) -> usize {
        self.users.len()
    }

    /// Every socket.
    #[must_use]
    pub fn connections(&self) -> Vec<Connection> {
        let sockets = self.gateways.values().flat_map(|gateway| &gateway.sockets);
        sockets
            .map(|(socket_id, user_id)| Connection {
                user_id: user_id.clone(),
                socket_id: socket_id.clone(),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(id: &str) -> UserId {
        id.parse().expect("a user id")
    }

    fn connected(gateway: u128, number: u64, who: &str, socket: &str) -> Announcement {
        Announcement {
            gateway: GatewayId(Uuid::from_u128(gateway)),
            number,
            change: Change::Connected { user_id: user(who), socket_id: socket.into() },
        }
    }

    fn disconnected(gateway: u128, number: u64, who: &str, socket: &str) -> Announcement {
        Announcement {
            gateway: GatewayId(Uuid::from_u128(gateway)),
            number,
            change: Change::Disconnected { user_id: user(who), socket_id: socket.into() },
        }
    }

    #[test]
    fn a_user_has_left_with_the_last_socket_on_any_gateway() {
        let mut replica = Replica::default();
        let mut left = Vec::new();
        for announcement in [
            connected(1, 1, "ann", "a"),
            connected(2, 1, "ann", "b"),
            disconnected(1, 2, "ann", "a"),
        ] {
            assert_eq!(replica.apply(announcement, |u| left.push(u.clone())), Applied::Done);
        }
        assert!(left.is_empty() && replica.is_connected(&user("ann")));
        let gone = Announcement {
            gateway: GatewayId(Uuid::from_u128(2)),
            number: 0,
            change: Change::Gone,
        };
        replica.apply(gone, |u| left.push(u.clone()));
        assert_eq!(left, [user("ann")]);
        assert_eq!(replica.total(), 0);
    }

    #[test]
    fn a_missing_announcement_is_noticed_and_a_snapshot_heals_it() {
        let mut replica = Replica::default();
        assert_eq!(replica.apply(connected(1, 1, "ann", "a"), |_| ()), Applied::Done);
        assert_eq!(replica.apply(connected(1, 3, "cy", "c"), |_| ()), Applied::Gap);
        let snapshot = Announcement {
            gateway: GatewayId(Uuid::from_u128(1)),
            number: 3,
            change: Change::Snapshot {
                sockets: vec![(user("ann"), "a".into()), (user("cy"), "c".into())],
            },
        };
        let mut left = Vec::new();
        assert_eq!(replica.apply(snapshot, |u| left.push(u.clone())), Applied::Done);
        assert!(left.is_empty(), "ann stayed");
        assert_eq!(replica.total(), 2);
        assert_eq!(replica.apply(connected(1, 3, "cy", "c"), |_| ()), Applied::Done);
        assert_eq!(replica.total(), 2);
    }
}
