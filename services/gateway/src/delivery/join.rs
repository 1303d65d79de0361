//! How a socket gets what its user missed, and from there to the live stream, without a gap or a
//! repetition.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, timeout};
use tracing::{debug, warn};
use verbatim_keys::Content;
use verbatim_protocol::StreamCursor;
use verbatim_protocol::cursor::BadCursor;

use super::outgoing::Outgoing;
use super::stream::Next;
use super::{Backoff, Delivery, VIEWS_WAIT};
use crate::requests::envelope;
use crate::socket::Session;

/// How many missed messages are read at a time.
const PAGE: u32 = 100;
/// A socket whose replay doesn't get on for so long is closed: elsewhere, or later, it may.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where a client wants to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Start {
    /// After the last message that it applied.
    Cursor(String),
    /// After something that can't be a cursor.
    Malformed,
    /// Where its user's delivered mark stands.
    Mark,
}

/// What to replay.
struct Missed {
    after: u64,
    /// What was there when the socket came: to be replayed even where the frames are not there yet, so
    /// that it has all this once it is told that it has caught up.
    through: u64,
    /// Up to here without the user's own messages: those count as delivered. What the socket itself
    /// sends while it is being brought up to date lies above, and is never left out.
    others_only_through: u64,
    /// How many messages were sent, and how many of the user's own left out.
    sent: u64,
    own: u64,
}

impl Missed {
    fn between(after: u64, through: u64, others_only_through: u64) -> Self {
        Self { after, through, others_only_through, sent: 0, own: 0 }
    }
}

/// The socket is gone, or was given up.
struct Over;

impl Delivery {
    /// Brings a socket that was just registered up to date, and lets it go on live.
    pub async fn join(self: Arc<Self>, session: Arc<Session>, start: Start) {
        let link = Arc::clone(&session.link);
        let joined = link.closed().run_until_cancelled(self.catch_up(&session, start)).await;
        if let Some(Err(Over)) = joined {
            debug!(socket = &*session.id, "gone before it had caught up");
        }
    }

    async fn catch_up(&self, session: &Arc<Session>, start: Start) -> Result<(), Over> {
        let mut missed = self.missed(session, start).await?;
        loop {
            // Read after the socket was registered: what the frames brought before is in the views.
            let through = self.position().await.max(missed.through);
            self.replay(session, &mut missed, through).await?;
            if missed.sent == 0 && missed.own >= u64::from(PAGE) {
                // So that they needn't be passed over again.
                self.arrived(session.user(), through.min(missed.others_only_through));
            }
            session.stream().passed(missed.after);
            if self.drain(session, &mut missed.sent).await? {
                return Ok(());
            }
            missed.after = session.stream().sent();
        }
    }

    /// Where to begin.
    async fn missed(&self, session: &Arc<Session>, start: Start) -> Result<Missed, Over> {
        let journal = &self.ports.journal;
        let views = &self.ports.views;
        let head = self.retried(session, "journal", || journal.head()).await?;
        let reset = match start {
            Start::Mark => None,
            Start::Malformed => Some(BadCursor::Malformed.to_string()),
            Start::Cursor(cursor) => match StreamCursor::parse(&cursor, journal.id()) {
                Ok(after) if after <= head => {
                    // Views that don't follow are no reason to wait: what they lack comes live.
                    let reached =
                        self.retried(session, "views", || views.reached(head, VIEWS_WAIT));
                    let through = match timeout(VIEWS_WAIT, reached).await {
                        Ok(reached) => reached.map(|()| head)?,
                        Err(_) => views.checkpoint().min(head),
                    };
                    return Ok(Missed::between(after, through, 0));
                }
                Ok(_) => Some("the cursor is ahead of the log".to_owned()),
                Err(bad) => Some(bad.to_string()),
            },
        };
        if let Some(reason) = reset {
            session.emit("stream:reset", envelope(&json!({ "reason": reason })));
        }
        let mark = self.retried(session, "views", || async move {
            views.reached(head, VIEWS_WAIT).await?;
            views.delivered_through(session.user()).await
        });
        Ok(Missed::between(mark.await?, head, session.begins_above))
    }

    /// Sends what the user missed up to `through`; no faster than the client takes it.
    async fn replay(
        &self,
        session: &Arc<Session>,
        missed: &mut Missed,
        through: u64,
    ) -> Result<(), Over> {
        let views = &self.ports.views;
        while missed.after < through {
            let from = missed.after;
            let page = self.retried(session, "views", || async move {
                views.reached(through, VIEWS_WAIT).await?;
                // Held for one page only, so that slow readers hold nobody up.
                let _reader = self.readers.acquire().await;
                views.stream(session.user(), from, through, PAGE).await
            });
            let mut page = page.await?;
            let last = page.last().filter(|_| page.len() >= PAGE as usize);
            let reached = last.map_or(through, |last| last.position);
            let found = page.len();
            page.retain(|found| {
                found.position > missed.others_only_through
                    || found.message.sender_id != *session.user()
            });
            missed.own += (found - page.len()) as u64;
            let keys = self.retried(session, "the keys", || {
                self.ports
                    .keys
                    .find(page.iter().filter_map(|found| Some(found.message.sealed()?.key)))
            });
            let keys = keys.await?;
            for found in &mut page {
                keys.open(&mut found.message);
            }
            for found in page {
                missed.after = found.position;
                let outgoing = Outgoing::replayed(found, self.ports.journal.id());
                if !session.has_room_for(&outgoing.packet(session.user())).await {
                    return Err(Over);
                }
                self.send(session, &outgoing);
                self.metrics.messages_replayed.inc();
                missed.sent += 1;
            }
            missed.after = reached;
        }
        Ok(())
    }

    /// Sends what came meanwhile; with the last of it the socket is live. False if some of it was
    /// lost, and must be read.
    async fn drain(&self, session: &Arc<Session>, sent: &mut u64) -> Result<bool, Over> {
        loop {
            let outgoing = {
                let mut stream = session.stream();
                match stream.next() {
                    Next::Send(outgoing) => outgoing,
                    Next::Again => return Ok(false),
                    Next::Live => {
                        // Under the lock: nothing live goes out before.
                        self.ready(session, stream.sent(), *sent);
                        return Ok(true);
                    }
                }
            };
            if !session.has_room_for(&outgoing.packet(session.user())).await {
                return Err(Over);
            }
            self.send(session, &outgoing);
            self.metrics.messages_pushed.inc();
            *sent += 1;
        }
    }

    fn ready(&self, session: &Arc<Session>, position: u64, replayed: u64) {
        let cursor = StreamCursor { journal: self.ports.journal.id(), position }.to_string();
        let data = json!({ "cursor": cursor, "replayed": replayed });
        session.emit("stream:ready", envelope(&data));
    }

    /// Asks until there is an answer, or the socket is gone or given up.
    async fn retried<T, E, F>(
        &self,
        session: &Session,
        whom: &str,
        mut ask: impl FnMut() -> F,
    ) -> Result<T, Over>
    where
        E: std::fmt::Display,
        F: Future<Output = Result<T, E>>,
    {
        let since = Instant::now();
        let mut pause = Backoff::default();
        loop {
            match ask().await {
                Ok(answer) => return Ok(answer),
                Err(error) if since.elapsed() >= PATIENCE => {
                    warn!(socket = &*session.id, %error, "{whom} can't be read: giving a socket up");
                    session.give_up();
                    return Err(Over);
                }
                Err(error) => debug!(socket = &*session.id, %error, "{whom} can't be read yet"),
            }
            if session.is_over() {
                return Err(Over);
            }
            pause.wait().await;
        }
    }
}
