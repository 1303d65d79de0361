//! The lanes that this process follows, as one queue.
//!
//! Each lane's reader waits while its part of the queue is full, so a slow handler holds up the
//! server and not this process's memory.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use verbatim_protocol::{CommandEnvelope, LaneCursor, Place};

use super::replies::{Replies, ReplyTo};
use crate::{CommandSource, Request, Taken};

/// Starts a lane's reader.
pub(super) type Start = Box<dyn Fn(u16, Option<LaneCursor>, Arc<Following>) + Send + Sync>;

pub(super) struct Lanes {
    queue: Mutex<Queue>,
    filled: Notify,
    replies: Replies,
}

#[derive(Default)]
struct Queue {
    held: VecDeque<Held>,
    following: HashMap<u16, Arc<Following>>,
    /// Counts the calls that took the lanes over; the latest owner's number.
    owner: u64,
    closed: bool,
}

/// A command that was taken from the server and not given out yet.
pub(super) struct Held {
    pub(super) place: Place,
    pub(super) command: Result<CommandEnvelope, Undecodable>,
    pub(super) reply_to: Option<ReplyTo>,
    /// The next in the queue came in the same message.
    pub(super) goes_on: bool,
}

pub(super) struct Undecodable {
    pub(super) command: Vec<u8>,
    pub(super) reason: String,
}

/// One lane, from when it is followed until it is left.
#[derive(Debug, Default)]
pub(super) struct Following {
    /// The reader is to end.
    pub(super) stop: CancellationToken,
    /// Somebody else may handle the lane's commands by now.
    left: AtomicBool,
    /// Of this lane, in the queue.
    held: AtomicUsize,
    /// Some of it was given out.
    pub(super) room: Notify,
}

impl Following {
    pub(super) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    pub(super) fn is_left(&self) -> bool {
        self.left.load(Ordering::Relaxed)
    }

    fn leave(&self) {
        self.left.store(true, Ordering::Relaxed);
        self.stop.cancel();
    }
}

impl Lanes {
    pub(super) fn new(replies: Replies) -> Self {
        Self { queue: Mutex::default(), filled: Notify::new(), replies }
    }

    /// A panic can't leave the queue half-changed, so a poisoned lock is as good as any.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn queued(&self) -> usize {
        self.lock().held.len()
    }

    /// Queues what a lane's reader read, unless it was told to stop meanwhile.
    pub(super) fn push(&self, following: &Following, held: Vec<Held>) {
        let mut queue = self.lock();
        // Looked at under the lock: who stops a reader holds it.
        if following.stop.is_cancelled() {
            return;
        }
        following.held.fetch_add(held.len(), Ordering::Relaxed);
        queue.held.extend(held);
        drop(queue);
        self.filled.notify_one();
    }

    pub(super) fn take_over(lanes: &Arc<Self>, start: Start) -> Box<dyn CommandSource> {
        let mut queue = lanes.lock();
        queue.leave_all();
        queue.owner += 1;
        let source = Source { lanes: Arc::clone(lanes), owner: queue.owner, start };
        drop(queue);
        lanes.filled.notify_waiters();
        Box::new(source)
    }

    /// Takes no more from the server. What is queued can still be given out.
    pub(super) fn close(&self) {
        let mut queue = self.lock();
        queue.closed = true;
        for following in queue.following.values() {
            following.stop.cancel();
        }
        drop(queue);
        self.filled.notify_waiters();
    }
}

impl Queue {
    fn leave(&mut self, lane: u16) {
        if let Some(following) = self.following.remove(&lane) {
            following.leave();
            self.held.retain(|held| held.place.lane != lane);
        }
    }

    fn leave_all(&mut self) {
        for following in self.following.drain() {
            following.1.leave();
        }
        self.held.clear();
    }
}

/// The receiving end that `take_over` gave out.
struct Source {
    lanes: Arc<Lanes>,
    owner: u64,
    start: Start,
}

impl Source {
    fn give(&self, queue: &mut Queue, max: usize) -> Vec<Taken> {
        let mut count = queue.held.len().min(max);
        // The cursor comes with the last of a message. Who was given only some of it could leave the lane
        // then, and the next owner would be given those again, which this one has answered.
        while count > 0 && queue.held[count - 1].goes_on {
            count += 1;
        }
        let mut given = Vec::with_capacity(count);
        for held in queue.held.drain(..count) {
            let Held { place, command, reply_to, goes_on: _ } = held;
            let following = queue.following.get(&place.lane).map(Arc::clone);
            if let Some(following) = &following {
                following.held.fetch_sub(1, Ordering::Relaxed);
                following.room.notify_one();
            }
            given.push(match command {
                Ok(command) => {
                    let reply = self.lanes.replies.to(reply_to, command.deadline, following);
                    Taken::Request(Request { command, place: Some(place), reply })
                }
                Err(Undecodable { command, reason }) => {
                    self.lanes.replies.refuse(reply_to);
                    Taken::Undecodable { place, command, reason }
                }
            });
        }
        given
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
                let given = self.give(&mut queue, max);
                if !given.is_empty() {
                    return Some(given);
                }
                if queue.closed {
                    return None;
                }
            }
            filled.await;
        }
    }

    fn follow(&mut self, lane: u16, after: Option<LaneCursor>) {
        let mut queue = self.lanes.lock();
        if queue.owner != self.owner || queue.closed {
            return;
        }
        queue.leave(lane);
        let following = Arc::new(Following::default());
        queue.following.insert(lane, Arc::clone(&following));
        drop(queue);
        (self.start)(lane, after, following);
    }

    fn leave(&mut self, lane: u16) {
        let mut queue = self.lanes.lock();
        if queue.owner == self.owner {
            queue.leave(lane);
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        let mut queue = self.lanes.lock();
        if queue.owner == self.owner {
            queue.leave_all();
        }
    }
}

impl fmt::Debug for Lanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lanes").field("queued", &self.queued()).finish_non_exhaustive()
    }
}
