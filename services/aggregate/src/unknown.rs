//! After an append whose outcome is unknown.

use std::collections::HashSet;
use std::time::Duration;

use futures::StreamExt;
use tokio::time::{Instant, sleep, timeout_at};
use verbatim_protocol::Timestamp;
use verbatim_protocol::command::COMMAND_DEADLINE_MS;

use crate::answer;
use crate::batch::{Batch, Decided, Decision};
use crate::owner::Owner;
use crate::pending::Pending;
use crate::worker::Worker;

/// The pauses between two questions to a journal that doesn't answer, drawn from 0 to the bound.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

impl Worker {
    /// All states that the batch has touched are void, and what has been decided on them since. What
    /// the journal may hold is looked for; the rest is decided anew.
    pub(crate) async fn after_failure(&mut self, batch: Batch) {
        let (mut unknown, mut redo) = (Vec::new(), Vec::new());
        let decided = batch.decided.iter();
        let touched: HashSet<_> = decided.map(|decided| decided.pending.stream.clone()).collect();
        for Decided { pending, decision } in batch.decided {
            match decision {
                Decision::Append(_) | Decision::Appending => unknown.push(pending),
                _ => redo.push(pending),
            }
        }
        self.make_void(&touched, redo);
        self.raise_epochs().await;
        self.find_unknown(unknown).await;
    }

    /// Where workers share the journal, the lost append could still be committed after it was looked
    /// for: not any more once its lanes have higher epochs.
    async fn raise_epochs(&mut self) {
        let Some(lanes) = self.owner.as_ref().map(Owner::lanes) else { return };
        let claims = self.book.claims();
        let latest = Instant::now() + Duration::from_millis(COMMAND_DEADLINE_MS);
        let mut pause = FIRST_PAUSE;
        loop {
            match timeout_at(latest, lanes.raise(&claims)).await {
                Ok(Ok(raised)) => {
                    for (old, new) in claims.iter().zip(raised) {
                        match new {
                            Some(new) => self.book.raised(new),
                            None => self.lost.push(old.lane),
                        }
                    }
                    return;
                }
                Ok(Err(error)) if Instant::now() < latest => {
                    tracing::debug!(%error, "epochs can't be raised yet");
                    sleep(rand::random_range(Duration::ZERO..pause)).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                // By now every command of the append has expired.
                Ok(Err(_)) | Err(_) => return,
            }
        }
    }

    /// Answers each command as soon as the journal tells whether it was carried out, or lets go of
    /// it at its deadline. Nothing else is taken from the bus meanwhile: it waits there, bounded,
    /// and is answered by its own deadline.
    async fn find_unknown(&mut self, mut unknown: Vec<Pending>) {
        let mut pause = FIRST_PAUSE;
        loop {
            let now = Timestamp::now();
            for expired in unknown.extract_if(.., |pending| pending.is_expired(now)) {
                expired.expire(&self.metrics);
            }
            let Some(latest) = unknown.iter().map(|pending| pending.envelope.deadline).max() else {
                return;
            };
            let left = u64::try_from(latest.0 - now.0).unwrap_or(0).min(COMMAND_DEADLINE_MS);
            let latest = Instant::now() + Duration::from_millis(left);
            unknown = self.look_once(unknown, latest).await;
            if unknown.is_empty() {
                return;
            }
            sleep(rand::random_range(Duration::ZERO..pause)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Gives back the commands about which the journal says nothing.
    async fn look_once(&mut self, unknown: Vec<Pending>, latest: Instant) -> Vec<Pending> {
        let keys = unknown.iter().map(|pending| pending.key().clone()).collect();
        let mut originals = answer::look_up(&*self.journal, keys);
        let mut unknown = unknown.into_iter();
        let mut left = Vec::new();
        while let Some(pending) = unknown.next() {
            match timeout_at(latest, originals.next()).await {
                Ok(Some(Ok(Some(original)))) => {
                    let reply = answer::found(&pending, &original);
                    pending.answer(reply, &self.metrics);
                }
                Ok(Some(Ok(None))) => pending.answer(answer::unavailable(), &self.metrics),
                Ok(Some(Err(_)) | None) | Err(_) => {
                    left.push(pending);
                    left.extend(unknown);
                    break;
                }
            }
        }
        left
    }
}
