//! The command lanes as one bounded queue.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use verbatim_protocol::{CommandEnvelope, Reply, Timestamp};

use crate::refusal::{refused, unavailable};
use crate::{CommandSource, ReplyFuture, Request, Taken};

pub(super) struct Lanes {
    capacity: usize,
    queue: Mutex<Queue>,
    filled: Notify,
}

#[derive(Default)]
struct Queue {
    requests: VecDeque<Request>,
    /// Counts the calls that took the lanes over; the latest owner's number.
    owner: u64,
    owned: bool,
    closed: bool,
}

/// The receiving end that `take_over` gave out.
struct Source {
    lanes: Arc<Lanes>,
    owner: u64,
}

impl Lanes {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, queue: Mutex::default(), filled: Notify::new() }
    }

    /// A panic can't leave the queue half-changed, so a poisoned lock is as good as any.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn queued(&self) -> usize {
        self.lock().requests.len()
    }

    pub(super) fn send(&self, command: CommandEnvelope) -> ReplyFuture {
        let remaining = command.deadline.0.saturating_sub(Timestamp::now().0);
        let Ok(remaining) = u64::try_from(remaining) else {
            return refused("The command's time is up");
        };
        let deadline = Instant::now() + Duration::from_millis(remaining);
        let (answer, answered) = oneshot::channel();
        // A sender that has stopped waiting leaves nobody to tell.
        let reply = Box::new(move |reply: Reply| drop(answer.send(reply)));
        let mut queue = self.lock();
        if queue.closed {
            return refused("The service is shutting down");
        }
        if queue.requests.len() >= self.capacity {
            return refused("The service is overloaded");
        }
        queue.requests.push_back(Request { command, place: None, reply });
        drop(queue);
        self.filled.notify_one();
        Box::pin(async move {
            match tokio::time::timeout_at(deadline, answered).await {
                Ok(Ok(reply)) => reply,
                Ok(Err(_)) => Err(unavailable("The command was not handled")),
                Err(_) => Err(unavailable("The command was not settled in time")),
            }
        })
    }

    pub(super) fn take_over(lanes: &Arc<Self>) -> impl CommandSource + use<> {
        let mut queue = lanes.lock();
        queue.owner += 1;
        queue.owned = true;
        let source = Source { lanes: Arc::clone(lanes), owner: queue.owner };
        drop(queue);
        lanes.filled.notify_waiters();
        source
    }

    pub(super) fn close(&self) {
        let mut queue = self.lock();
        queue.closed = true;
        let abandoned =
            if queue.owned { VecDeque::new() } else { std::mem::take(&mut queue.requests) };
        drop(queue);
        drop(abandoned);
        self.filled.notify_waiters();
    }
}

#[async_trait]
impl CommandSource for Source {
    async fn next(&mut self, max: usize) -> Option<Vec<Taken>> {
        loop {
            // Made before the look at the queue, it hears of all that happens after it.
            let filled = self.lanes.filled.notified();
            {
                let mut queue = self.lanes.lock();
                if queue.owner != self.owner {
                    drop(queue);
                    // The wake-up that brought this end here may have been the successor's.
                    self.lanes.filled.notify_one();
                    return None;
                }
                let count = queue.requests.len().min(max);
                if count > 0 {
                    return Some(queue.requests.drain(..count).map(Taken::Request).collect());
                }
                if queue.closed {
                    return None;
                }
            }
            filled.await;
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        let mut queue = self.lanes.lock();
        if queue.owner != self.owner {
            return;
        }
        queue.owned = false;
        // Unless the bus is closed, a successor may come and take what waits.
        let abandoned =
            if queue.closed { std::mem::take(&mut queue.requests) } else { VecDeque::new() };
        drop(queue);
        drop(abandoned);
    }
}

impl fmt::Debug for Lanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lanes")
            .field("capacity", &self.capacity)
            .field("queued", &self.queued())
            .finish_non_exhaustive()
    }
}
