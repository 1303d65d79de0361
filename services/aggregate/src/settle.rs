//! What happens to a batch: to the journal, and back as replies.

use std::collections::HashSet;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use verbatim_domain::StreamId;
use verbatim_journal::{Appended, Error, LaneProgress, Snapshot};
use verbatim_protocol::{ErrorCode, Recorded, Timestamp};

use crate::answer::{self, Question};
use crate::batch::{Batch, Decided, Decision};
use crate::pending::{KeyIs, Pending};
use crate::worker::{Aside, InFlight, Worker};

/// Snapshots that may wait to be saved; more are left out, and made again later.
const MAX_SNAPSHOTS: usize = 256;

/// What became of a command.
enum Outcome {
    Committed(Vec<Arc<Recorded>>),
    Duplicate(Arc<Recorded>),
    /// Other writers got between too often.
    GivenUp,
    /// There was nothing to append.
    Decided(Decision),
}

impl Worker {
    /// Gives the journal the batch that has formed, unless it still has the one before.
    pub(crate) fn submit(&mut self) -> anyhow::Result<()> {
        if self.in_flight.is_some() || (self.forming.is_empty() && !self.book.has_dead()) {
            return Ok(());
        }
        let now = Timestamp::now();
        if self.forming.has_expired(now) {
            // The batch before it took long. What was decided on the late commands is void.
            let late = self.forming.expired_streams(now);
            self.make_void(&late, Vec::new());
        }
        let mut batch = std::mem::take(&mut self.forming);
        let appends = batch.take_appends();
        let progress = self.progress(&batch);
        if appends.is_empty() && progress.is_empty() {
            return self.settle(batch, Vec::new());
        }
        self.appends_begun += 1;
        self.metrics.append_events.observe(batch.events as f64);
        self.in_flight = Some(InFlight::new(Arc::clone(&self.journal), batch, appends, progress));
        Ok(())
    }

    /// How far the lanes have come once the batch is with the journal.
    fn progress(&mut self, batch: &Batch) -> Vec<LaneProgress> {
        if self.owner.is_none() {
            return Vec::new();
        }
        for ticket in batch.decided.iter().filter_map(|decided| decided.pending.ticket) {
            self.book.settle(ticket);
        }
        self.book.progress(self.appends_begun + 1, batch.lanes())
    }

    pub(crate) async fn after_append(
        &mut self,
        answer: Result<Vec<Appended>, Error>,
    ) -> anyhow::Result<()> {
        let in_flight = self.in_flight.take().context("there was no append to be answered")?;
        self.metrics.append_duration.observe(in_flight.since.elapsed().as_secs_f64());
        self.appends_ended += 1;
        match answer {
            Ok(outcomes) => self.settle(in_flight.batch, outcomes),
            Err(error @ Error::Corrupt(_)) => bail!(error),
            Err(error @ Error::Unavailable(_)) => {
                tracing::error!(%error, "an append failed, its outcome is unknown");
                self.book.not_stored(in_flight.progress);
                self.after_failure(in_flight.batch).await;
                Ok(())
            }
        }
    }

    /// Everything that the batch was decided on is committed, and its own appends have these
    /// outcomes: replies go out, and what was built on an append that came to nothing is redone.
    fn settle(&mut self, batch: Batch, outcomes: Vec<Appended>) -> anyhow::Result<()> {
        let mut outcomes = outcomes.into_iter();
        let mut settled = Vec::with_capacity(batch.decided.len());
        let mut void = HashSet::new();
        let mut redo = Vec::new();
        for Decided { mut pending, decision } in batch.decided {
            let outcome = match decision {
                Decision::Append(_) | Decision::Appending => {
                    self.release(&pending.stream);
                    outcomes.next().context("the journal left an append unanswered")?
                }
                _ if void.contains(&pending.stream) => {
                    redo.push(pending);
                    continue;
                }
                decision => {
                    settled.push((pending, Outcome::Decided(decision)));
                    continue;
                }
            };
            let outcome = match outcome {
                Appended::Committed(events) => {
                    self.remember_key(&pending);
                    Outcome::Committed(events)
                }
                Appended::Duplicate(original) => {
                    self.remember_key(&pending);
                    void.insert(pending.stream.clone());
                    Outcome::Duplicate(original)
                }
                // The lane's next owner decides and answers it.
                Appended::Fenced => {
                    self.metrics.fenced.inc();
                    self.lost.extend(pending.ticket.map(|ticket| ticket.lane));
                    void.insert(pending.stream.clone());
                    self.left.push(pending);
                    continue;
                }
                Appended::Conflict => {
                    // Only the first of a stream met another writer; the others had built on it.
                    if void.insert(pending.stream.clone()) {
                        pending.conflicts += 1;
                    }
                    if pending.conflicts <= self.settings.max_conflicts {
                        redo.push(pending);
                        continue;
                    }
                    Outcome::GivenUp
                }
            };
            settled.push((pending, outcome));
        }
        ensure!(outcomes.next().is_none(), "the journal answered more than was asked");
        let mut snapshots = batch.snapshots;
        if !void.is_empty() {
            snapshots.retain(|snapshot| !void.contains(&snapshot.stream));
            self.make_void(&void, redo);
        }
        self.save_snapshots(snapshots);
        // The journal has work again before anything else is done.
        self.submit()?;
        self.reply(settled, batch.events);
        Ok(())
    }

    /// Only what is committed: a key that its command then didn't use would send the next try on the
    /// way of repetitions, and what was sent after that could overtake it.
    fn remember_key(&mut self, pending: &Pending) {
        if pending.is_users() {
            self.recent.insert(pending.key().clone(), ());
        }
    }

    fn reply(&mut self, settled: Vec<(Pending, Outcome)>, events: usize) {
        let mut committed = Vec::with_capacity(events);
        for (_, outcome) in &settled {
            if let Outcome::Committed(events) = outcome {
                committed.extend(events.iter().cloned());
            }
        }
        let position = committed.last().map(|last| last.position);
        if !committed.is_empty() {
            self.bus.publish_events(committed.into());
        }
        let mut questions = Vec::new();
        for (pending, outcome) in settled {
            let reply = match outcome {
                Outcome::Committed(events) => match events.last() {
                    Some(last) => Ok(answer::committed(&pending.envelope.command, last)),
                    None => answer::unavailable(),
                },
                Outcome::Duplicate(original) => answer::found(&pending, &original),
                Outcome::GivenUp => answer::unavailable(),
                Outcome::Decided(Decision::Rejected(failure)) => {
                    let may_be_a_repetition = pending.is_users()
                        && pending.key_is != KeyIs::Unused
                        && failure.code != ErrorCode::IdempotencyConflict;
                    if may_be_a_repetition {
                        questions.push((pending, Question::Rejected(failure)));
                        continue;
                    }
                    Err(failure)
                }
                Outcome::Decided(Decision::Settled) => {
                    let Some(position) = position else {
                        questions.push((pending, Question::Head));
                        continue;
                    };
                    Ok(answer::settled(position))
                }
                // Of an append, the outcome is another.
                Outcome::Decided(_) => {
                    questions.push((pending, Question::Repeated));
                    continue;
                }
            };
            pending.answer(reply, &self.metrics);
        }
        if !questions.is_empty() {
            let answers = answer::after_look_up(
                Arc::clone(&self.journal),
                questions,
                Arc::clone(&self.metrics),
            );
            self.aside.spawn(async move {
                answers.await;
                Aside::Answered
            });
        }
    }

    /// One append of the stream is settled.
    fn release(&mut self, stream: &StreamId) {
        let Some(slot) = self.cache.peek(stream) else { return };
        slot.uncommitted -= 1;
        if slot.state.is_none() {
            self.want_load(stream);
        }
    }

    /// Drops these streams' states, on which nothing is in flight any more, and has `redo`, then what
    /// the forming batch has of them, decided anew.
    pub(crate) fn make_void(&mut self, streams: &HashSet<StreamId>, mut redo: Vec<Pending>) {
        let forming = self.forming.extract(|stream| streams.contains(stream));
        redo.extend(forming.into_iter().map(|decided| decided.pending));
        for stream in streams {
            let slot = self.cache.touch(stream);
            slot.state = None;
            slot.uncommitted = 0;
        }
        self.parked += redo.len();
        for mut pending in redo.into_iter().rev() {
            pending.key_is = KeyIs::Suspect;
            let slot = self.cache.touch(&pending.stream);
            slot.parked.push_front(pending);
        }
        for stream in streams {
            self.want_load(stream);
        }
    }

    pub(crate) fn save_snapshots(&mut self, more: impl IntoIterator<Item = Snapshot>) {
        let room = MAX_SNAPSHOTS - self.snapshots.len();
        self.snapshots.extend(more.into_iter().take(room));
        if self.is_saving || self.snapshots.is_empty() {
            return;
        }
        self.is_saving = true;
        let snapshots = std::mem::take(&mut self.snapshots);
        let journal = Arc::clone(&self.journal);
        self.aside.spawn(async move {
            if let Err(error) = journal.save_snapshots(snapshots).await {
                tracing::warn!(%error, "snapshots can't be saved; they will be made again");
            }
            Aside::Saved
        });
    }
}
