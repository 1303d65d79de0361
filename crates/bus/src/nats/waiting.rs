//! Commands of this process that wait for their replies.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;
use verbatim_protocol::{Reply, Timestamp};

#[derive(Debug)]
pub(super) struct Waiting {
    capacity: usize,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    last: u64,
    replies: HashMap<u64, oneshot::Sender<Reply>>,
}

/// A command's place among those that wait; given back when dropped.
pub(super) struct Slot {
    pub(super) number: u64,
    pub(super) reply: oneshot::Receiver<Reply>,
    waiting: Arc<Waiting>,
}

impl Waiting {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, entries: Mutex::default() }
    }

    /// `None` when too many wait.
    pub(super) fn enter(self: &Arc<Self>) -> Option<Slot> {
        let mut entries = self.lock();
        if entries.replies.len() >= self.capacity {
            return None;
        }
        entries.last += 1;
        let number = entries.last;
        let (answer, reply) = oneshot::channel();
        entries.replies.insert(number, answer);
        Some(Slot { number, reply, waiting: Arc::clone(self) })
    }

    /// Whether somebody still waits for it.
    pub(super) fn answer(&self, number: u64, reply: Reply) -> bool {
        let answer = self.lock().replies.remove(&number);
        answer.is_some_and(|answer| answer.send(reply).is_ok())
    }

    pub(super) fn len(&self) -> usize {
        self.lock().replies.len()
    }

    /// A panic can't leave the entries half-changed.
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.waiting.lock().replies.remove(&self.number);
    }
}

/// When a deadline is by the clock that timers go by; `None` once it has passed.
pub(super) fn remaining(deadline: Timestamp) -> Option<Instant> {
    let left = deadline.0.saturating_sub(Timestamp::now().0);
    let left = u64::try_from(left).ok()?;
    Some(Instant::now() + Duration::from_millis(left))
}
