//! Messages outwards: from push frames to the sockets of this gateway.
//!
//! Frames follow each other without gaps ([`sequence`]); a gap is filled from the views. A socket
//! that connects is registered first, gets what it missed from the views, up to where the frames
//! have come and at least to the journal's head, then what came meanwhile, then goes on live
//! ([`join`]). Each socket remembers the last position that it was sent ([`stream`]), and is never sent
//! one at or below it.

mod join;
mod marks;
mod outgoing;
mod refresh;
mod sequence;
mod stream;
mod watch;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::Rng;
use tokio::sync::{Semaphore, watch as latest};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use verbatim_domain::UserId;
use verbatim_protocol::client::Message;
use verbatim_protocol::{Frame, List, Push, StreamCursor, Timestamp};

use crate::metrics::Metrics;
use crate::requests::Requests;
use crate::socket::{Patience, Registry, Session};
use crate::{Ports, Settings, socket};
use marks::Marks;
use outgoing::Outgoing;
use refresh::Refreshes;
use sequence::{Sequence, Step};
use watch::Watched;

pub(crate) use join::Start;
pub(crate) use stream::Stream;

/// Frames are fresh if one came within this: without pushes they come as heartbeats.
const FRESH: Duration = Duration::from_secs(5);
/// How many pushes a gap is filled with at a time.
const GAP_PAGE: u32 = 500;
/// How long the views may take to reach a position, before it is tried again.
const VIEWS_WAIT: Duration = Duration::from_secs(2);
/// How many sockets read what they missed at once: fewer than the views have connections where they are
/// a file, so that pushes and requests don't wait behind those.
const READERS: usize = 2;

/// The way outwards.
pub(crate) struct Delivery {
    ports: Ports,
    requests: Arc<Requests>,
    registry: Arc<Registry>,
    metrics: Arc<Metrics>,
    patience: Patience,
    /// Where the frames have come; `None` before the first.
    position: latest::Sender<Option<u64>>,
    /// The journal's head when this gateway began.
    began_at: AtomicU64,
    last_frame: Mutex<Option<Instant>>,
    readers: Semaphore,
    refreshes: Refreshes,
    watched: Watched,
    marks: Marks,
}

impl Delivery {
    pub fn new(
        ports: Ports,
        settings: &Settings,
        requests: Arc<Requests>,
        registry: Arc<Registry>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            ports,
            requests,
            registry,
            metrics,
            patience: socket::patience(settings),
            position: latest::Sender::new(None),
            began_at: AtomicU64::new(0),
            last_frame: Mutex::new(None),
            readers: Semaphore::new(READERS),
            refreshes: Refreshes::default(),
            watched: Watched::default(),
            marks: Marks::default(),
        }
    }

    /// Whether this gateway hears of new messages.
    pub fn is_fresh(&self) -> bool {
        let last = self.last_frame.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|last| last.elapsed() <= FRESH)
    }

    /// Notes what was there before any socket: to be called before the first is let in.
    pub async fn begin(&self) {
        match self.ports.journal.head().await {
            Ok(head) => self.began_at.store(head, Ordering::Relaxed),
            Err(error) => {
                warn!(%error, "clients without a cursor may be sent again what they wrote before");
            }
        }
    }

    /// Takes frames, and does what follows from them, until `shutdown`.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let work = async {
            // None of these ends but the first, when the bus is closed.
            tokio::select! {
                () = self.take_frames() => {}
                () = self.push_lists() => {}
                () = self.watch() => {}
                () = self.move_marks() => {}
            }
        };
        shutdown.run_until_cancelled(work).await;
    }

    /// A position below whatever a socket that is being let in now will send.
    pub fn head(&self) -> u64 {
        // Views that another process writes are known to be as far as somebody has asked for.
        let pushed = self.position.borrow().unwrap_or(0);
        self.ports.views.checkpoint().max(pushed).max(self.began_at.load(Ordering::Relaxed))
    }

    /// A user has received everything up to `position`, as far as this side can tell.
    pub fn arrived(&self, user: &UserId, position: u64) {
        self.marks.advance(user, position, &self.metrics);
    }

    /// Pushes a whole list to the user's sockets on this gateway, soon.
    pub fn refresh(&self, user: &UserId, list: List) {
        if self.registry.has_user(user) {
            self.refreshes.want(user.clone(), list);
        }
    }

    async fn take_frames(&self) {
        let mut frames = self.ports.bus.subscribe_frames();
        let mut sequence = Sequence::default();
        while let Some(frame) = frames.recv().await {
            self.take(&mut sequence, &frame).await;
        }
    }

    async fn take(&self, sequence: &mut Sequence, frame: &Frame) {
        match sequence.next(frame) {
            Step::Refuse => {
                self.metrics.frames_refused.inc();
                return;
            }
            Step::Take { gap, above } => {
                self.metrics.frames.inc();
                if gap.is_some() || self.position.borrow().is_none() {
                    // What came before may have told of an erasure.
                    self.ports.keys.forget_all();
                }
                if let Some((after, through)) = gap {
                    self.metrics.frame_gaps.inc();
                    debug!(after, through, "push frames are missing");
                    self.fill(after, through).await;
                }
                self.reach(frame.to.max(above));
                let fresh = |push: &&Push| push.position() > above;
                frame.pushes.iter().filter(fresh).for_each(|push| self.push(push));
            }
        }
        *self.last_frame.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Pushes what lies between two frames, from the views.
    async fn fill(&self, mut after: u64, through: u64) {
        let mut pause = Backoff::default();
        while after < through {
            let read = async {
                self.ports.views.reached(through, VIEWS_WAIT).await?;
                let mut pushes = self.ports.views.pushes(after, through, GAP_PAGE).await?;
                self.open(&mut pushes).await?;
                anyhow::Ok(pushes)
            };
            let pushes = match read.await {
                Ok(pushes) => pushes,
                Err(error) => {
                    warn!(%error, after, through, "missing pushes can't be read yet");
                    pause.wait().await;
                    continue;
                }
            };
            let last = pushes.last().map(Push::position);
            after = last.filter(|_| pushes.len() >= GAP_PAGE as usize).unwrap_or(through);
            self.reach(after);
            for push in &pushes {
                self.push(push);
            }
        }
    }

    /// Makes of messages from the views what frames hold: opened, and with their cursors.
    async fn open(&self, pushes: &mut [Push]) -> anyhow::Result<()> {
        let mut messages = Vec::new();
        for push in &*pushes {
            if let Push::Message(push) = push {
                messages.push(serde_json::from_str::<Message>(&push.message)?);
            }
        }
        self.ports.keys.open_all(&mut messages).await?;
        let of_messages = pushes.iter_mut().filter_map(|push| match push {
            Push::Message(push) => Some(push),
            _ => None,
        });
        for (push, mut message) in of_messages.zip(messages) {
            let cursor = StreamCursor { journal: self.ports.journal.id(), position: push.position };
            message.cursor = Some(cursor.to_string());
            push.message = serde_json::to_string(&message)?.into();
        }
        Ok(())
    }

    /// Notes where the frames have come. Before the pushes are handed out: a socket that is
    /// registered too late for one of them then reads at least this far from the views.
    fn reach(&self, position: u64) {
        self.position.send_if_modified(|reached| reached.replace(position) != Some(position));
    }

    /// Where the frames have come.
    async fn position(&self) -> u64 {
        let mut position = self.position.subscribe();
        let reached = position.wait_for(Option::is_some).await.map(|position| *position);
        reached.ok().flatten().expect("the sender is this object's, and waits for a position")
    }

    fn push(&self, push: &Push) {
        match push {
            Push::Refresh(refresh) => self.refresh(&refresh.user_id, refresh.list),
            Push::Erased(erased) => self.ports.keys.forget(&erased.user_id),
            Push::Message(message) => {
                let mut outgoing = None;
                for recipient in &*message.recipients {
                    self.registry.of_user(recipient, |session| {
                        let outgoing = outgoing
                            .get_or_insert_with(|| Outgoing::of_push(message).map(Arc::new));
                        if let Some(outgoing) = outgoing {
                            self.offer(session, outgoing);
                        }
                    });
                }
                if let Some(Some(outgoing)) = outgoing {
                    let delay = Timestamp::now().0.saturating_sub(outgoing.created_at.0).max(0);
                    self.metrics.push_seconds.observe(delay as f64 / 1_000.0);
                }
            }
        }
    }

    /// Hands a message to a socket, or keeps it until the socket has what comes before.
    fn offer(&self, session: &Arc<Session>, outgoing: &Arc<Outgoing>) {
        let mut stream = session.stream();
        match stream.offer(outgoing) {
            stream::Offer::Send => {
                // Under the lock: whoever else sends of this stream comes after.
                self.send(session, outgoing);
                self.metrics.messages_pushed.inc();
            }
            stream::Offer::Kept | stream::Offer::Known => {}
            stream::Offer::Overflow => {
                self.metrics.join_overflows.inc();
            }
        }
    }

    fn send(&self, session: &Arc<Session>, outgoing: &Outgoing) {
        session.send(outgoing.packet(session.user()));
        outgoing.log(session);
        if outgoing.sender_id != *session.user() {
            self.watched.add(session);
        }
    }
}

/// Pauses between tries, longer each time, of random length.
#[derive(Debug)]
struct Backoff {
    most: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { most: Duration::from_millis(50) }
    }
}

impl Backoff {
    const MOST: Duration = Duration::from_secs(2);

    async fn wait(&mut self) {
        let part = rand::rng().random_range(0.1..=1.0);
        sleep(self.most.mul_f64(part)).await;
        self.most = (self.most * 2).min(Self::MOST);
    }
}

#[cfg(test)]
mod tests;
