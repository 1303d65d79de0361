//! Decided commands on their way to one append.

use std::collections::HashSet;

use verbatim_domain::StreamId;
use verbatim_journal::{Append, Snapshot};
use verbatim_protocol::{Failure, Timestamp};

use crate::pending::Pending;

/// What a command's decision came to; none of it is told before the batch is committed.
#[derive(Debug)]
pub(crate) enum Decision {
    Append(Append),
    /// Its events are with the journal.
    Appending,
    /// What it asks for is so already.
    Settled,
    Rejected(Failure),
    /// Its key was used a short while ago.
    Repeated,
}

pub(crate) struct Decided {
    pub(crate) pending: Pending,
    pub(crate) decision: Decision,
}

#[derive(Default)]
pub(crate) struct Batch {
    /// In the order in which they were decided.
    pub(crate) decided: Vec<Decided>,
    pub(crate) events: usize,
    /// Of states as they are once the batch is committed.
    pub(crate) snapshots: Vec<Snapshot>,
    earliest_deadline: Option<Timestamp>,
}

impl Batch {
    pub(crate) fn push(&mut self, pending: Pending, decision: Decision) {
        if let Decision::Append(append) = &decision {
            self.events += append.events.len();
            let deadline = pending.envelope.deadline;
            self.earliest_deadline =
                Some(self.earliest_deadline.map_or(deadline, |earliest| earliest.min(deadline)));
        }
        self.decided.push(Decided { pending, decision });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.decided.is_empty()
    }

    /// Whether an append would come too late for its sender.
    pub(crate) fn has_expired(&self, now: Timestamp) -> bool {
        self.earliest_deadline.is_some_and(|earliest| earliest <= now)
    }

    /// The streams of appends that would come too late.
    pub(crate) fn expired_streams(&self, now: Timestamp) -> HashSet<StreamId> {
        let appends = self.decided.iter().filter(|d| matches!(d.decision, Decision::Append(_)));
        let late = appends.filter(|decided| decided.pending.is_expired(now));
        late.map(|decided| decided.pending.stream.clone()).collect()
    }

    /// Hands the appends out, in order.
    pub(crate) fn take_appends(&mut self) -> Vec<Append> {
        let mut appends = Vec::with_capacity(self.decided.len());
        for decided in &mut self.decided {
            match std::mem::replace(&mut decided.decision, Decision::Appending) {
                Decision::Append(append) => appends.push(append),
                other => decided.decision = other,
            }
        }
        appends
    }

    /// Takes the commands of these streams out, in order: their decisions are void.
    pub(crate) fn extract(&mut self, void: impl Fn(&StreamId) -> bool) -> Vec<Decided> {
        let decided = std::mem::take(self);
        let mut extracted = Vec::new();
        for Decided { pending, decision } in decided.decided {
            if void(&pending.stream) {
                extracted.push(Decided { pending, decision });
            } else {
                self.push(pending, decision);
            }
        }
        self.snapshots = decided.snapshots;
        self.snapshots.retain(|snapshot| !void(&snapshot.stream));
        extracted
    }

    /// The lanes of its commands.
    pub(crate) fn lanes(&self) -> impl Iterator<Item = u16> + use<'_> {
        self.decided.iter().filter_map(|decided| decided.pending.ticket).map(|ticket| ticket.lane)
    }
}
