//! Pushes whole lists that changed: beside the messages, so that they are never held up, and once
//! for many changes.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde_json::value::RawValue;
use tokio::sync::Notify;
use tracing::warn;
use verbatim_domain::UserId;
use verbatim_protocol::{Failure, List};

use super::{Backoff, Delivery};
use crate::socket::log;

/// How many lists are read at once.
const AT_ONCE: usize = 4;
/// How often a list is tried; then its clients have to ask.
const TRIES: u32 = 5;

type Key = (UserId, List);

/// Lists to be pushed. Bounded by the users with sockets here.
#[derive(Default)]
pub(super) struct Refreshes {
    queue: Mutex<Queue>,
    wanted: Notify,
}

#[derive(Default)]
struct Queue {
    order: VecDeque<Key>,
    states: HashMap<Key, State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waits,
    UnderWay,
    /// It changed again while it was read.
    UnderWayAndWanted,
}

impl Refreshes {
    /// Pushes a list soon, in its state at that time.
    pub fn want(&self, user: UserId, list: List) {
        let mut queue = self.queue();
        let key = (user, list);
        match queue.states.get_mut(&key) {
            Some(State::Waits) => return,
            Some(state) => {
                *state = State::UnderWayAndWanted;
                return;
            }
            None => {}
        }
        queue.order.push_back(key.clone());
        queue.states.insert(key, State::Waits);
        drop(queue);
        self.wanted.notify_one();
    }

    fn take(&self) -> Option<Key> {
        let mut queue = self.queue();
        let key = queue.order.pop_front()?;
        queue.states.insert(key.clone(), State::UnderWay);
        Some(key)
    }

    fn done(&self, key: Key) {
        let mut queue = self.queue();
        if queue.states.remove(&key) == Some(State::UnderWayAndWanted) {
            queue.order.push_back(key.clone());
            queue.states.insert(key, State::Waits);
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Delivery {
    pub(super) async fn push_lists(&self) {
        let mut under_way = FuturesUnordered::new();
        loop {
            while under_way.len() < AT_ONCE
                && let Some(key) = self.refreshes.take()
            {
                under_way.push(async {
                    self.push_list(&key).await;
                    key
                });
            }
            tokio::select! {
                Some(key) = under_way.next() => self.refreshes.done(key),
                () = self.refreshes.wanted.notified() => {}
            }
        }
    }

    async fn push_list(&self, (user, list): &Key) {
        let mut pause = Backoff::default();
        for _ in 0..TRIES {
            if !self.registry.has_user(user) {
                return;
            }
            match self.read_list(user, *list).await {
                Ok(body) => return self.emit_list(user, *list, &body),
                Err(failure) if failure.retryable => pause.wait().await,
                Err(failure) => {
                    warn!(%failure, "a list can't be pushed");
                    return;
                }
            }
        }
        warn!("a list was not pushed: it can't be read");
    }

    async fn read_list(&self, user: &UserId, list: List) -> Result<Arc<RawValue>, Failure> {
        match list {
            List::Conversations => self.requests.conversations_list(user).await,
            List::Notifications => self.requests.notifications_list(user).await,
        }
    }

    fn emit_list(&self, user: &UserId, list: List, body: &Arc<RawValue>) {
        let event = match list {
            List::Conversations => "conversation:receive",
            List::Notifications => "notification:receive",
        };
        self.registry.of_user(user, |session| {
            session.emit(event, Arc::clone(body));
            log::list_sent(session, event);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_changes_make_one_push_but_one_more_if_it_was_under_way() {
        let refreshes = Refreshes::default();
        let user = || "ann".parse().expect("a user id");
        let list = List::Conversations;
        refreshes.want(user(), list);
        refreshes.want(user(), list);
        refreshes.want(user(), List::Notifications);
        let first = refreshes.take().expect("wanted");
        assert_eq!(first, (user(), list));
        refreshes.want(user(), list);
        assert_eq!(refreshes.take(), Some((user(), List::Notifications)));
        assert_eq!(refreshes.take(), None, "never two of the same at once");
        refreshes.done(first);
        assert_eq!(refreshes.take(), Some((user(), list)));
        refreshes.done((user(), list));
        refreshes.done((user(), List::Notifications));
        assert!(refreshes.queue().states.is_empty());
    }
}
