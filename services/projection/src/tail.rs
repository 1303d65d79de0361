//! Every committed event once, in order, from a position on.
//!
//! The feed hastens, the journal decides: events come from the feed as long as they follow on each
//! other; at the start, at a hole and after a silence the journal is asked.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::time::{Instant, sleep_until};
use verbatim_bus::Subscription;
use verbatim_journal::{Journal, Log};
use verbatim_protocol::Recorded;

use crate::retry::until_available;
use crate::{Ports, Settings};

type FeedBatch = Arc<[Arc<Recorded>]>;

/// A reader's place in the log. Each reader has its own.
pub(crate) struct Tail {
    journal: Arc<dyn Journal>,
    feed: Subscription<FeedBatch>,
    feed_closed: bool,
    /// What the feed gave and was not yet taken in full.
    held: Option<FeedBatch>,
    /// The last position given out.
    position: u64,
    /// The highest position heard of.
    head: u64,
    ask_journal: bool,
    quiet_until: Instant,
    limit: usize,
    silence: Duration,
}

impl Tail {
    /// A tail that gives the events above `after`. The feed is listened to from now on.
    pub fn new(ports: &Ports, settings: &Settings, after: u64) -> Self {
        Self {
            journal: ports.journal.clone(),
            feed: ports.bus.subscribe_events(),
            feed_closed: false,
            held: None,
            position: after,
            head: after,
            ask_journal: true,
            quiet_until: Instant::now() + settings.feed_silence,
            limit: settings.batch_events,
            silence: settings.feed_silence,
        }
    }

    /// A tail that gives the events after those that are in the journal now.
    ///
    /// # Errors
    /// The journal is corrupt.
    pub async fn from_head(ports: &Ports, settings: &Settings) -> anyhow::Result<Self> {
        let mut tail = Self::new(ports, settings, 0);
        let head = journal_head(&*tail.journal).await?;
        (tail.position, tail.head) = (head, head);
        Ok(tail)
    }

    /// The last position given out.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The highest position known to be committed, never below [`Self::position`].
    pub fn head(&self) -> u64 {
        self.head
    }

    /// Waits for events, then gives all that are there, up to the limit: at least one, ascending,
    /// following on the last ones without a hole. Safe to cancel.
    ///
    /// # Errors
    /// The journal is corrupt: a hole, an event that nobody knows, or fewer events than were
    /// already given out. Where it is merely unavailable, it is asked until it answers.
    pub async fn next(&mut self) -> anyhow::Result<Vec<Arc<Recorded>>> {
        loop {
            let batch =
                if self.ask_journal { self.read_journal().await? } else { self.take_from_feed() };
            if !batch.is_empty() {
                self.quiet_until = Instant::now() + self.silence;
                return Ok(batch);
            }
            if !self.ask_journal {
                self.wait().await;
            }
        }
    }

    async fn wait(&mut self) {
        tokio::select! {
            batch = self.feed.recv(), if !self.feed_closed => match batch {
                Some(batch) => self.held = Some(batch),
                None => self.feed_closed = true,
            },
            () = sleep_until(self.quiet_until) => self.ask_journal = true,
        }
    }

    fn take_from_feed(&mut self) -> Vec<Arc<Recorded>> {
        let mut batch = Vec::new();
        while batch.len() < self.limit && !self.ask_journal {
            let Some(offered) = self.held.take().or_else(|| self.feed.try_recv().ok()) else {
                break;
            };
            self.take(offered, &mut batch);
        }
        batch
    }

    /// Takes what is new, as far as there is room; the rest is held.
    fn take(&mut self, offered: FeedBatch, batch: &mut Vec<Arc<Recorded>>) {
        let (Some(first), Some(last)) = (offered.first(), offered.last()) else { return };
        self.head = self.head.max(last.position);
        if last.position <= self.position {
            return;
        }
        let known = (self.position + 1).saturating_sub(first.position) as usize;
        for event in offered.iter().skip(known) {
            if batch.len() == self.limit {
                break;
            }
            if event.position != self.position + 1 {
                self.ask_journal = true;
                break;
            }
            self.position = event.position;
            batch.push(event.clone());
        }
        if last.position > self.position {
            self.held = Some(offered);
        }
    }

    async fn read_journal(&mut self) -> anyhow::Result<Vec<Arc<Recorded>>> {
        let (after, limit) = (self.position, self.limit);
        let head = journal_head(&*self.journal).await?;
        ensure!(
            head >= after,
            "the journal ends at position {head}, below position {after} which was already read"
        );
        let batch = if head == after { Vec::new() } else { self.read_after(after, limit).await? };
        self.ask_journal = batch.len() == limit;
        self.quiet_until = Instant::now() + self.silence;
        self.position = batch.last().map_or(after, |last| last.position);
        self.head = self.head.max(head).max(self.position);
        // What the feed announced and the journal does not show yet comes with the next question.
        let ahead = |held: &FeedBatch| held.first().is_some_and(|e| e.position > self.position + 1);
        if !self.ask_journal && self.held.as_ref().is_some_and(ahead) {
            self.held = None;
        }
        Ok(batch)
    }

    async fn read_after(&self, after: u64, limit: usize) -> anyhow::Result<Vec<Arc<Recorded>>> {
        let batch = until_available("journal.read_after", || self.journal.read_after(after, limit))
            .await
            .with_context(|| format!("reading the journal after position {after}"))?;
        ensure!(!batch.is_empty(), "the journal lacks position {}, below its head", after + 1);
        for (event, expected) in batch.iter().zip(after + 1..) {
            ensure!(
                event.position == expected,
                "the journal has a hole: position {} where {expected} is due",
                event.position
            );
        }
        Ok(batch)
    }
}

/// The last committed position, asked for until the journal answers.
///
/// # Errors
/// The journal is corrupt.
pub(crate) async fn journal_head(journal: &dyn Log) -> anyhow::Result<u64> {
    let head = until_available("journal.head", || journal.head()).await;
    head.context("reading the journal's head")
}

#[cfg(test)]
mod tests;
