//! Moves users' delivered marks: one command a user and second, at most.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tracing::debug;
use verbatim_domain::UserId;
use verbatim_domain::inbox::DeliveryOutcome;

use super::Delivery;
use crate::metrics::Metrics;

/// The least time between two commands for one user.
const EVERY: Duration = Duration::from_secs(1);
/// How many users' marks may wait to be moved.
const MOST_USERS: usize = 100_000;
/// How many commands are under way at once.
const AT_ONCE: usize = 64;
/// How often a mark is tried again; then it is left, and the messages come again.
const TRIES: u32 = 10;

/// Marks to be moved.
#[derive(Default)]
pub(super) struct Marks {
    queue: Mutex<Queue>,
    moved: Notify,
}

#[derive(Default)]
struct Queue {
    users: HashMap<UserId, Mark>,
    /// Whose mark can be moved now.
    ready: VecDeque<UserId>,
    /// Whose mark was just moved, and until when it is left alone; in the order of time.
    resting: VecDeque<(Instant, UserId)>,
}

#[derive(Debug, Default)]
struct Mark {
    /// 0 if there is nothing to move.
    through: u64,
    tries: u32,
}

impl Marks {
    /// Moves a user's mark to `through`, soon. Never back.
    pub fn advance(&self, user: &UserId, through: u64, metrics: &Metrics) {
        let mut queue = self.queue();
        if let Some(mark) = queue.users.get_mut(user) {
            mark.through = mark.through.max(through);
            return;
        }
        if queue.users.len() >= MOST_USERS {
            metrics.marks_dropped.inc();
            return;
        }
        queue.users.insert(user.clone(), Mark { through, tries: 0 });
        queue.ready.push_back(user.clone());
        drop(queue);
        self.moved.notify_one();
    }

    /// The next mark to be moved now.
    fn take(&self) -> Option<(UserId, u64)> {
        let mut queue = self.queue();
        let user = queue.ready.pop_front()?;
        let mark = queue.users.get_mut(&user)?;
        Some((user, std::mem::take(&mut mark.through)))
    }

    /// Lets those go on that have rested. When the next will have.
    fn wake(&self, now: Instant) -> Option<Instant> {
        let mut queue = self.queue();
        while let Some((until, user)) = queue.resting.pop_front() {
            if until > now {
                queue.resting.push_front((until, user));
                return Some(until);
            }
            if queue.users.get(&user).is_some_and(|mark| mark.through > 0) {
                queue.ready.push_back(user);
            } else {
                queue.users.remove(&user);
            }
        }
        None
    }

    /// A command for a user is settled: `again` if it wasn't carried out.
    fn settled(&self, user: UserId, through: u64, again: bool, metrics: &Metrics) {
        let mut queue = self.queue();
        let Some(mark) = queue.users.get_mut(&user) else { return };
        mark.tries = if again { mark.tries + 1 } else { 0 };
        if mark.tries >= TRIES {
            metrics.marks_dropped.inc();
            mark.tries = 0;
        } else if again {
            mark.through = mark.through.max(through);
        }
        queue.resting.push_back((Instant::now() + EVERY, user));
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Delivery {
    pub(super) async fn move_marks(&self) {
        let mut under_way = FuturesUnordered::new();
        loop {
            let next = self.marks.wake(Instant::now());
            while under_way.len() < AT_ONCE
                && let Some((user, through)) = self.marks.take()
            {
                self.metrics.mark_commands.inc();
                let moved =
                    self.requests.advance_delivery(&user, through, DeliveryOutcome::Presumed);
                under_way.push(async move { (user, through, moved.await) });
            }
            tokio::select! {
                Some((user, through, moved)) = under_way.next() => {
                    if let Err(failure) = &moved {
                        debug!(%failure, through, "a delivered mark was not moved");
                    }
                    let again = moved.is_err_and(|failure| failure.retryable);
                    self.marks.settled(user, through, again, &self.metrics);
                }
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
                () = self.marks.moved.notified() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;
    use tokio::time::advance;

    use super::*;

    fn user(id: &str) -> UserId {
        id.parse().expect("a user id")
    }

    #[tokio::test(start_paused = true)]
    async fn a_users_mark_moves_once_a_second_at_most() {
        let metrics = Metrics::register(&mut Registry::default());
        let marks = Marks::default();
        marks.advance(&user("ann"), 5, &metrics);
        marks.advance(&user("ann"), 3, &metrics);
        assert_eq!(marks.take(), Some((user("ann"), 5)));
        marks.advance(&user("ann"), 7, &metrics);
        assert_eq!(marks.take(), None, "one is under way");
        marks.settled(user("ann"), 5, false, &metrics);
        assert_eq!(marks.wake(Instant::now()), Some(Instant::now() + EVERY));
        assert_eq!(marks.take(), None, "a second has not passed");
        advance(EVERY).await;
        assert_eq!(marks.wake(Instant::now()), None);
        assert_eq!(marks.take(), Some((user("ann"), 7)));
        marks.settled(user("ann"), 7, false, &metrics);
        advance(EVERY).await;
        marks.wake(Instant::now());
        assert_eq!(marks.take(), None);
        assert!(marks.queue().users.is_empty(), "nothing is kept of users at rest");
    }

    #[tokio::test(start_paused = true)]
    async fn a_mark_that_could_not_be_moved_is_tried_again_but_not_for_ever() {
        let metrics = Metrics::register(&mut Registry::default());
        let marks = Marks::default();
        marks.advance(&user("ann"), 5, &metrics);
        for _ in 0..TRIES {
            assert_eq!(marks.take(), Some((user("ann"), 5)));
            marks.settled(user("ann"), 5, true, &metrics);
            advance(EVERY).await;
            marks.wake(Instant::now());
        }
        assert_eq!(marks.take(), None);
        assert_eq!(metrics.marks_dropped.get(), 1);
    }
}
