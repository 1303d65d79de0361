//! Users whose last socket went while a watch was on them.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;
use verbatim_domain::UserId;

/// Who is given time to come back, who waits to be looked after, who is being looked after.
#[derive(Debug)]
pub(super) struct Departures {
    grace: Duration,
    leaving: HashMap<UserId, Instant>,
    queued: VecDeque<UserId>,
    under_way: HashSet<UserId>,
}

impl Departures {
    pub fn new(grace: Duration) -> Self {
        Self { grace, leaving: HashMap::new(), queued: VecDeque::new(), under_way: HashSet::new() }
    }

    /// The user's last socket went: they may come back within the grace.
    pub fn leave(&mut self, user: UserId, now: Instant) {
        self.leaving.insert(user, now + self.grace);
    }

    /// The user has been given time enough.
    pub fn leave_now(&mut self, user: UserId, now: Instant) {
        self.leaving.entry(user).or_insert(now);
    }

    /// Queues those whose grace is over.
    pub fn expire(&mut self, now: Instant) {
        for (user, _) in self.leaving.extract_if(|_, due| *due <= now) {
            self.queued.push_back(user);
        }
    }

    /// The next to look after, if fewer than `limit` are.
    pub fn begin(&mut self, limit: usize, now: Instant) -> Option<UserId> {
        while self.under_way.len() < limit {
            let user = self.queued.pop_front()?;
            if self.under_way.insert(user.clone()) {
                return Some(user);
            }
            // They came and went again meanwhile: look once more when this is done.
            self.leave_now(user, now);
        }
        None
    }

    /// The user was looked after, or needed nothing.
    pub fn end(&mut self, user: &UserId) {
        self.under_way.remove(user);
    }
}
