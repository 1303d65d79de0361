//! Commands and replies on their way out: in order, without ever blocking who hands them over, and
//! never after their time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use async_nats::{HeaderMap, Subject};
use bytes::Bytes;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::connection::Link;
use super::tasks::Tasks;
use super::throttle::Throttle;

pub(super) struct Outgoing {
    pub(super) subject: Subject,
    /// Where the server answers to.
    pub(super) answer_to: Option<Subject>,
    pub(super) headers: HeaderMap,
    pub(super) payload: Bytes,
    /// Past it nobody wants it any more.
    pub(super) deadline: Instant,
}

/// A queue and the task that empties it.
#[derive(Debug, Clone)]
pub(super) struct Publisher {
    queue: mpsc::Sender<(Outgoing, Ticket)>,
    backlog: Backlog,
    dropped: Arc<AtomicU64>,
}

/// There was no room, or the adapter has ended.
pub(super) struct Refused;

impl Publisher {
    pub(super) fn spawn(
        tasks: &Tasks,
        name: &'static str,
        link: Link,
        capacity: usize,
        backlog: Backlog,
    ) -> Self {
        let (queue, outgoing) = mpsc::channel(capacity);
        let dropped = Arc::default();
        tasks.spawn(name, publish(name, outgoing, link, Arc::clone(&dropped)));
        Self { queue, backlog, dropped }
    }

    pub(super) fn publish(&self, outgoing: Outgoing) -> Result<(), Refused> {
        self.queue.try_send((outgoing, self.backlog.enter())).map_err(|_| Refused)
    }

    /// What was handed over and came to nothing.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    pub(super) fn count_dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

async fn publish(
    name: &'static str,
    mut queue: mpsc::Receiver<(Outgoing, Ticket)>,
    mut link: Link,
    dropped: Arc<AtomicU64>,
) {
    let warning = Throttle::default();
    while let Some((outgoing, _ticket)) = queue.recv().await {
        if let Err(reason) = publish_one(outgoing, &mut link).await {
            let dropped = dropped.fetch_add(1, Ordering::Relaxed) + 1;
            if warning.allows() {
                tracing::warn!(queue = name, dropped, reason, "a message was not published");
            }
        }
    }
}

const TOO_LATE: &str = "its time was up";

async fn publish_one(outgoing: Outgoing, link: &mut Link) -> Result<(), &'static str> {
    let Outgoing { subject, answer_to, headers, payload, deadline } = outgoing;
    // What is handed to the client while it has no connection is sent whenever it has one again.
    while !link.is_connected() {
        tokio::select! {
            () = link.changed() => {}
            () = sleep_until(deadline) => return Err(TOO_LATE),
        }
    }
    if Instant::now() >= deadline {
        return Err(TOO_LATE);
    }
    let client = link.client();
    let publishing = async {
        match answer_to {
            Some(answer_to) => {
                client.publish_with_reply_and_headers(subject, answer_to, headers, payload).await
            }
            None => client.publish(subject, payload).await,
        }
    };
    match timeout_at(deadline, publishing).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err("the client refuses it"),
        Err(_) => Err(TOO_LATE),
    }
}

/// How much was handed over and is not written yet, over all queues.
#[derive(Debug, Clone, Default)]
pub(super) struct Backlog(Arc<Count>);

#[derive(Debug, Default)]
struct Count {
    waiting: AtomicUsize,
    emptied: Notify,
}

/// Counts as waiting until dropped.
pub(super) struct Ticket(Arc<Count>);

impl Backlog {
    pub(super) fn enter(&self) -> Ticket {
        self.0.waiting.fetch_add(1, Ordering::Relaxed);
        Ticket(Arc::clone(&self.0))
    }

    pub(super) async fn emptied(&self) {
        loop {
            let emptied = self.0.emptied.notified();
            if self.0.waiting.load(Ordering::Acquire) == 0 {
                return;
            }
            emptied.await;
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.0.waiting.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.emptied.notify_waiters();
        }
    }
}
