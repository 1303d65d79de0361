//! Commands and replies on their way out: in order, without ever blocking who hands them over, and
//! never after their time.
//!
//! What waits at the same time and goes to the same place goes as one message: that costs the server
//! and who reads it little more than one of them alone.

use std::collections::HashMap;
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
    /// A lane's subject, or the inbox of a process.
    pub(super) to: Subject,
    /// The command's, or that of the command that is answered.
    pub(super) number: u64,
    pub(super) payload: Bytes,
    /// Past it nobody wants it any more.
    pub(super) deadline: Instant,
}

pub(super) struct Message {
    pub(super) subject: Subject,
    /// Where the server answers to, and the headers.
    pub(super) answered: Option<(Subject, HeaderMap)>,
    pub(super) payload: Bytes,
}

/// Makes one message of what goes to the same place: one or more.
pub(super) type Pack = Box<dyn Fn(&[Outgoing]) -> Message + Send + Sync>;

/// The most bytes of several in one message.
const LARGEST: usize = 256 << 10;
/// What each takes besides its payload, at most: its number, and what parts it from others.
const BESIDES: usize = 24;

/// Parts what waits by where it goes, in order: so many at most, and as many as the server takes at once.
fn gather(
    waiting: impl IntoIterator<Item = Outgoing>,
    most: usize,
    max_payload: usize,
) -> Vec<Vec<Outgoing>> {
    let largest = max_payload.saturating_sub(HEADER_ROOM).min(LARGEST);
    let mut parcels: Vec<Vec<Outgoing>> = Vec::new();
    // The last parcel to each place, and its size.
    let mut open: HashMap<String, (usize, usize)> = HashMap::new();
    for outgoing in waiting {
        let size = outgoing.payload.len() + BESIDES;
        match open.get_mut(outgoing.to.as_str()) {
            Some((index, bytes)) if *bytes + size <= largest && parcels[*index].len() < most => {
                *bytes += size;
                parcels[*index].push(outgoing);
            }
            _ => {
                open.insert(outgoing.to.to_string(), (parcels.len(), size));
                parcels.push(vec![outgoing]);
            }
        }
    }
    parcels
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
        packing: Packing,
    ) -> Self {
        let (queue, outgoing) = mpsc::channel(capacity);
        let dropped = Arc::default();
        let publishing = Publishing { name, packing, link, dropped: Arc::clone(&dropped) };
        tasks.spawn(name, publishing.run(outgoing));
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

/// How many go as one message at most, and how it is made.
pub(super) struct Packing {
    pub(super) most: usize,
    pub(super) pack: Pack,
}

struct Publishing {
    name: &'static str,
    packing: Packing,
    link: Link,
    dropped: Arc<AtomicU64>,
}

/// Why something was not published.
#[derive(Debug, Clone, Copy)]
enum Unsent {
    /// Its time was up, or that of the first of a parcel.
    TooLate,
    Refused,
}

impl Publishing {
    async fn run(mut self, mut queue: mpsc::Receiver<(Outgoing, Ticket)>) {
        let warning = Throttle::default();
        let mut taken = Vec::new();
        while queue.recv_many(&mut taken, AT_ONCE).await > 0 {
            let (waiting, _tickets): (Vec<_>, Vec<_>) = taken.drain(..).unzip();
            if let Err((lost, reason)) = self.publish_all(waiting).await {
                let dropped = self.dropped.fetch_add(lost, Ordering::Relaxed) + lost;
                if warning.allows() {
                    tracing::warn!(
                        queue = self.name,
                        dropped,
                        ?reason,
                        "what waited was not published"
                    );
                }
            }
        }
    }

    /// # Errors
    /// How many were not published, and why the last of them.
    async fn publish_all(&mut self, waiting: Vec<Outgoing>) -> Result<(), (u64, Unsent)> {
        let mut unsent = Ok(());
        let mut lose = |count: usize, reason| {
            if count > 0 {
                let lost = unsent.err().map_or(0, |(lost, _)| lost);
                unsent = Err((lost + count as u64, reason));
            }
        };
        for mut parcel in gather(waiting, self.packing.most, self.link.client().max_payload()) {
            loop {
                lose(self.wait(&mut parcel).await, Unsent::TooLate);
                match self.publish(&parcel).await {
                    Ok(()) => break,
                    // Those that still have time go without the others.
                    Err(Unsent::TooLate) => {}
                    Err(Unsent::Refused) => {
                        lose(parcel.len(), Unsent::Refused);
                        break;
                    }
                }
            }
        }
        unsent
    }

    /// Waits for a connection, as what is handed to the client while it has none is sent whenever it has
    /// one again. Drops what is late by then; how many.
    async fn wait(&mut self, parcel: &mut Vec<Outgoing>) -> usize {
        let before = parcel.len();
        loop {
            let now = Instant::now();
            parcel.retain(|outgoing| outgoing.deadline > now);
            match first_deadline(parcel) {
                Some(first) if !self.link.is_connected() => tokio::select! {
                    () = self.link.changed() => {}
                    () = sleep_until(first) => {}
                },
                _ => return before - parcel.len(),
            }
        }
    }

    async fn publish(&self, parcel: &[Outgoing]) -> Result<(), Unsent> {
        let Some(deadline) = first_deadline(parcel) else { return Ok(()) };
        let Message { subject, answered, payload } = (self.packing.pack)(parcel);
        let client = self.link.client();
        let publishing = async {
            match answered {
                Some((answer_to, headers)) => {
                    client
                        .publish_with_reply_and_headers(subject, answer_to, headers, payload)
                        .await
                }
                None => client.publish(subject, payload).await,
            }
        };
        match timeout_at(deadline, publishing).await {
            Ok(published) => published.map_err(|_| Unsent::Refused),
            Err(_) => Err(Unsent::TooLate),
        }
    }
}

fn first_deadline(parcel: &[Outgoing]) -> Option<Instant> {
    parcel.iter().map(|outgoing| outgoing.deadline).min()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn outgoing(to: &'static str, number: u64) -> Outgoing {
        let payload = Bytes::from_static(b"0123456789");
        Outgoing { to: to.into(), number, payload, deadline: Instant::now() }
    }

    fn gathered(
        waiting: Vec<Outgoing>,
        most: usize,
        max_payload: usize,
    ) -> Vec<(&'static str, Vec<u64>)> {
        let parcels = gather(waiting, most, max_payload);
        parcels
            .iter()
            .map(|parcel| {
                let to = if parcel[0].to.as_str() == "one" { "one" } else { "other" };
                assert!(parcel.iter().all(|outgoing| outgoing.to.as_str() == to));
                (to, parcel.iter().map(|outgoing| outgoing.number).collect())
            })
            .collect()
    }

    #[test]
    fn what_goes_to_the_same_place_goes_together_and_in_order() {
        let waiting =
            || (1..=10).map(|n| outgoing(if n % 3 == 0 { "one" } else { "other" }, n)).collect();
        let together = [("other", vec![1, 2, 4, 5, 7, 8, 10]), ("one", vec![3, 6, 9])];
        assert_eq!(gathered(waiting(), 64, 1 << 20), together);
        let by_three = [
            ("other", vec![1, 2, 4]),
            ("one", vec![3, 6, 9]),
            ("other", vec![5, 7, 8]),
            ("other", vec![10]),
        ];
        assert_eq!(gathered(waiting(), 3, 1 << 20), by_three);
    }

    #[test]
    fn no_message_is_larger_than_the_server_takes() {
        let waiting = || (1..=5).map(|n| outgoing("one", n)).collect();
        let two = HEADER_ROOM + 2 * (10 + BESIDES);
        let by_two = [("one", vec![1, 2]), ("one", vec![3, 4]), ("one", vec![5])];
        assert_eq!(gathered(waiting(), 64, two), by_two);
        // What has no room for even one is the client's to refuse.
        assert_eq!(gathered(waiting(), 64, 0).len(), 5);
    }
}
