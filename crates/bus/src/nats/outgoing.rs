//! Commands and replies on their way out: in order, without ever blocking who hands them over, and
//! never after their time, the last of theirs where several are one message.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use async_nats::{HeaderMap, Subject};
use bytes::Bytes;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::connection::Link;
use super::parts::HEADER_ROOM;
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

/// A message, and what was handed over of which it is made.
pub(super) struct Parcel {
    pub(super) message: Outgoing,
    pub(super) tickets: Vec<Ticket>,
}

/// Makes messages, none larger than this, of what waits.
pub(super) type Pack = fn(Vec<(Outgoing, Ticket)>, usize) -> Vec<Parcel>;

/// Each goes by itself.
pub(super) fn apart(waiting: Vec<(Outgoing, Ticket)>, _: usize) -> Vec<Parcel> {
    let parcel = |(message, ticket)| Parcel { message, tickets: vec![ticket] };
    waiting.into_iter().map(parcel).collect()
}

/// What is taken from a queue at once.
const AT_ONCE: usize = 512;

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
        pack: Pack,
    ) -> Self {
        let (queue, outgoing) = mpsc::channel(capacity);
        let dropped = Arc::default();
        tasks.spawn(name, publish(name, outgoing, pack, link, Arc::clone(&dropped)));
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
    pack: Pack,
    mut link: Link,
    dropped: Arc<AtomicU64>,
) {
    let warning = Throttle::default();
    let mut waiting = Vec::new();
    while queue.recv_many(&mut waiting, AT_ONCE).await > 0 {
        let largest = link.client().max_payload().saturating_sub(HEADER_ROOM);
        for Parcel { message, tickets } in pack(std::mem::take(&mut waiting), largest) {
            if let Err(reason) = publish_one(message, &mut link).await {
                let lost = tickets.len() as u64;
                let dropped = dropped.fetch_add(lost, Ordering::Relaxed) + lost;
                if warning.allows() {
                    tracing::warn!(queue = name, dropped, reason, "a message was not published");
                }
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
