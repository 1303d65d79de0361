//! Lanes that come and go.

use std::future::pending;

use verbatim_bus::CommandSource;
use verbatim_domain::StreamId;
use verbatim_journal::{Claim, DeadLetter, Ownership};
use verbatim_protocol::Failure;

use crate::batch::Decision;
use crate::lanes::Ticket;
use crate::owner::Owner;
use crate::pending::Pending;
use crate::worker::Worker;

/// Waits for what this worker owns now, if it shares the journal; `None` once that won't change.
pub(crate) async fn owned(owner: &mut Option<Owner>) -> anyhow::Result<Option<Ownership>> {
    match owner {
        Some(owner) => owner.next().await,
        None => pending().await,
    }
}

impl Worker {
    /// Takes what is new, lets go of what is no longer this worker's, and gives up what is too much.
    pub(crate) fn own(&mut self, ownership: Ownership, source: &mut dyn CommandSource) {
        let Ownership { owned, surplus, .. } = ownership;
        let is_owned = |claim: &Claim| owned.iter().any(|owned| owned.claim.lane == claim.lane);
        let gone: Vec<_> = self.book.claims().into_iter().filter(|c| !is_owned(c)).collect();
        for claim in gone {
            self.lose(claim.lane, source);
        }
        for owned in &owned {
            let lane = owned.claim.lane;
            match self.book.epoch(lane) {
                Some(known) if known >= owned.claim.epoch => continue,
                // Somebody else had it in between.
                Some(_) => self.lose(lane, source),
                None => {}
            }
            if self.book.enter(owned) {
                tracing::debug!(lane, epoch = owned.claim.epoch, "owned");
                source.follow(lane, owned.cursor);
            }
        }
        self.leave(surplus, source);
        self.metrics.lanes.set(self.book.len() as i64);
    }

    /// Takes nothing more from so many lanes; they are released once what was taken is settled.
    pub(crate) fn leave(&mut self, count: usize, source: &mut dyn CommandSource) {
        for lane in self.book.give_up(count) {
            source.leave(lane);
        }
    }

    /// Lets go of lost lanes, and of those that are to be given up and have nothing left under way.
    /// True if commands may have to be decided anew.
    pub(crate) fn let_go(&mut self, source: &mut dyn CommandSource) -> bool {
        let lost = std::mem::take(&mut self.lost);
        for lane in &lost {
            self.lose(*lane, source);
        }
        self.left.clear();
        let claims = self.book.strike_left(self.appends_ended);
        for claim in &claims {
            self.forget(claim.lane);
        }
        if let Some(owner) = &mut self.owner
            && !claims.is_empty()
        {
            tracing::debug!(lanes = claims.len(), "given up");
            owner.release(claims);
            self.metrics.lanes.set(self.book.len() as i64);
        }
        !lost.is_empty()
    }

    /// The lane is another worker's, who reads, decides and answers what isn't committed.
    fn lose(&mut self, lane: u16, source: &mut dyn CommandSource) {
        source.leave(lane);
        if self.book.strike(lane).is_some() {
            tracing::warn!(lane, "lost");
            self.forget(lane);
        }
    }

    /// Drops what is kept of a lane's aggregates, and its commands, unanswered.
    fn forget(&mut self, lane: u16) {
        let is_lanes = |stream: &StreamId| stream.lane() == lane;
        self.waiting.retain(|pending| !is_lanes(&pending.stream));
        for decided in self.forming.extract(is_lanes) {
            if let Decision::Append(append) = &decided.decision {
                self.cache.touch(&append.stream).uncommitted -= 1;
            }
        }
        self.parked -= self.cache.forget(is_lanes);
    }

    /// Whether a command's lane is still this worker's.
    pub(crate) fn is_mine(&mut self, pending: &Pending) -> bool {
        pending.ticket.is_none_or(|ticket| self.book.holds(ticket))
    }

    /// The lane may go on behind a command.
    pub(crate) fn done_with(&mut self, pending: &Pending) {
        if let Some(ticket) = pending.ticket {
            self.book.settle(ticket);
        }
    }

    pub(crate) fn set_aside(&mut self, ticket: Ticket, letter: DeadLetter) {
        self.metrics.dead_letters.inc();
        self.book.set_aside(ticket, letter);
    }

    /// Answers a command that can't be handled, and sets it aside where that is possible.
    pub(crate) fn give_up_on(&mut self, pending: Pending, reason: &str) {
        if let Some(ticket) = pending.ticket {
            let command = serde_json::to_vec(&pending.envelope);
            let command = command.expect("a command that travelled can be written");
            self.set_aside(ticket, DeadLetter { command, reason: reason.to_owned() });
        }
        pending.answer(Err(Failure::internal()), &self.metrics);
    }
}
