//! One message to every subscriber, without ever waiting for one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{self, error::TrySendError};

use crate::Subscription;

/// A subscriber that doesn't keep up is named in the log at most this often.
const WARN_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct FanOut<T> {
    topic: &'static str,
    capacity: usize,
    subscribers: Mutex<Subscribers<T>>,
    dropped: AtomicU64,
}

#[derive(Debug)]
struct Subscribers<T> {
    queues: Vec<mpsc::Sender<T>>,
    warned: Option<Instant>,
}

impl<T: Clone> FanOut<T> {
    pub(crate) fn new(topic: &'static str, capacity: usize) -> Self {
        let subscribers = Mutex::new(Subscribers { queues: Vec::new(), warned: None });
        Self { topic, capacity, subscribers, dropped: AtomicU64::new(0) }
    }

    pub(crate) fn subscribe(&self) -> Subscription<T> {
        let (queue, subscription) = mpsc::channel(self.capacity);
        let mut subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        // Those who left are noticed at the next message; without messages, here.
        subscribers.queues.retain(|queue| !queue.is_closed());
        subscribers.queues.push(queue);
        subscription
    }

    /// In one order for all subscribers.
    pub(crate) fn publish(&self, message: &T) {
        let mut subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut missed = 0;
        subscribers.queues.retain(|queue| match queue.try_send(message.clone()) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                missed += 1;
                true
            }
            Err(TrySendError::Closed(_)) => false,
        });
        if missed == 0 {
            return;
        }
        let dropped = self.dropped.fetch_add(missed, Ordering::Relaxed) + missed;
        let now = Instant::now();
        if subscribers.warned.is_none_or(|warned| now.duration_since(warned) >= WARN_EVERY) {
            subscribers.warned = Some(now);
            drop(subscribers);
            tracing::warn!(topic = self.topic, dropped, "a subscriber does not keep up");
        }
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}
