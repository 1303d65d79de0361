//! Users who had a socket when messages were pushed, and of whom it is not known yet whether those
//! arrived.

use std::collections::{HashMap, HashSet};

use verbatim_domain::UserId;
use verbatim_state::Watch;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Watched {
    /// The lowest position pushed and not known to have arrived.
    pub from: u64,
    /// The highest position pushed.
    pub last: u64,
}

/// All watches, and which of them differ from what is stored.
#[derive(Debug, Default)]
pub(super) struct Watches {
    users: HashMap<UserId, Watched>,
    stored: HashMap<UserId, u64>,
    changed: HashSet<UserId>,
}

impl Watches {
    /// The watches of a former life, when the log had been decided on up to `checkpoint`.
    pub fn restore(stored: Vec<(UserId, u64)>, checkpoint: u64) -> Self {
        let watched = |from: u64| Watched { from, last: from.max(checkpoint) };
        Self {
            users: stored.iter().map(|(user, from)| (user.clone(), watched(*from))).collect(),
            stored: stored.into_iter().collect(),
            changed: HashSet::new(),
        }
    }

    /// A message was pushed to a user.
    pub fn pushed(&mut self, user: &UserId, position: u64) {
        if let Some(watched) = self.users.get_mut(user) {
            watched.last = watched.last.max(position);
            if position < watched.from {
                watched.from = position;
                self.changed.insert(user.clone());
            }
        } else {
            self.users.insert(user.clone(), Watched { from: position, last: position });
            self.changed.insert(user.clone());
        }
    }

    /// All up to `through` has arrived, or was noted: the watch ends, or goes on above it.
    pub fn settled(&mut self, user: &UserId, through: u64) {
        let Some(watched) = self.users.get_mut(user) else { return };
        if through >= watched.last {
            self.users.remove(user);
        } else if through >= watched.from {
            watched.from = through + 1;
        } else {
            return;
        }
        self.changed.insert(user.clone());
    }

    pub fn get(&self, user: &UserId) -> Option<Watched> {
        self.users.get(user).copied()
    }

    pub fn users(&self) -> impl Iterator<Item = &UserId> {
        self.users.keys()
    }

    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// What is to be stored so that the store holds what is watched now.
    pub fn take_changes(&mut self) -> Vec<Watch> {
        let mut changes = Vec::new();
        for user_id in self.changed.drain() {
            let from = self.users.get(&user_id).map(|watched| watched.from);
            let stored = match from {
                Some(from) => self.stored.insert(user_id.clone(), from),
                None => self.stored.remove(&user_id),
            };
            if from != stored {
                changes.push(Watch { user_id, from });
            }
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(id: &str) -> UserId {
        id.parse().expect("a user id")
    }

    #[test]
    fn a_watch_begins_at_the_lowest_position_and_ends_when_all_has_arrived() {
        let mut watches = Watches::default();
        let ann = user("ann");
        watches.pushed(&ann, 5);
        watches.pushed(&ann, 8);
        assert_eq!(watches.get(&ann), Some(Watched { from: 5, last: 8 }));
        watches.settled(&ann, 4);
        assert_eq!(watches.get(&ann), Some(Watched { from: 5, last: 8 }), "older news");
        watches.settled(&ann, 6);
        assert_eq!(watches.get(&ann), Some(Watched { from: 7, last: 8 }));
        watches.settled(&ann, 8);
        assert_eq!(watches.get(&ann), None);
    }

    #[test]
    fn only_what_differs_from_the_store_is_stored() {
        let ann = user("ann");
        let mut watches = Watches::restore(vec![(ann.clone(), 5)], 7);
        watches.pushed(&user("bob"), 8);
        watches.settled(&user("bob"), 8);
        assert_eq!(watches.take_changes(), [], "bob's watch came and went between two saves");
        watches.pushed(&ann, 9);
        assert_eq!(watches.take_changes(), [], "where ann's begins is stored");
        watches.settled(&ann, 9);
        assert_eq!(watches.take_changes(), [Watch { user_id: ann, from: None }]);
        assert_eq!(watches.take_changes(), []);
    }

    #[test]
    fn a_restored_watch_ends_only_when_all_that_was_decided_has_arrived() {
        let ann = user("ann");
        let mut watches = Watches::restore(vec![(ann.clone(), 5)], 7);
        watches.settled(&ann, 6);
        assert_eq!(watches.get(&ann), Some(Watched { from: 7, last: 7 }));
        watches.settled(&ann, 7);
        assert_eq!(watches.len(), 0);
    }
}
