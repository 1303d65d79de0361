//! The lanes that this worker owns, where several share the journal, and how far it has come in each.
//!
//! A lane's cursor passes a command once its decision is with the journal, in the append that stores
//! the cursor too. It only hastens: what is read again after a change of hands is caught by its key,
//! or by its deadline, which has passed before a lease can run out.

use std::collections::{BTreeMap, HashMap, VecDeque};

use verbatim_journal::{Claim, DeadLetter, LaneProgress, Owned};
use verbatim_protocol::{LaneCursor, Place};

/// A command's place among those that were taken from its lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) lane: u16,
    /// Which time that this worker owns the lane.
    life: u64,
    number: u64,
}

/// All lanes of this worker's. Empty where a worker has the journal for itself.
#[derive(Debug, Default)]
pub(crate) struct LaneBook {
    lanes: BTreeMap<u16, Lane>,
    /// Up to which epoch lanes were given up: older news of them are no news.
    given_up: HashMap<u16, u64>,
    lives: u64,
}

#[derive(Debug)]
struct Lane {
    claim: Claim,
    life: u64,
    /// Taken and not passed by the cursor, in the queue's order.
    taken: VecDeque<Taken>,
    /// The number of the first of `taken`.
    first: u64,
    cursor: Option<LaneCursor>,
    stored: Option<LaneCursor>,
    dead: Vec<DeadLetter>,
    /// Nothing more is taken; it is to be given up once the journal has what was.
    leaving: bool,
    /// The number of the last append that has something of the lane.
    append: u64,
}

#[derive(Debug, Clone, Copy)]
struct Taken {
    cursor: Option<LaneCursor>,
    settled: bool,
}

impl LaneBook {
    /// Enters a lane that was not there. False if it is old news of one that was given up since.
    pub(crate) fn enter(&mut self, owned: &Owned) -> bool {
        let Owned { claim, cursor } = *owned;
        if self.given_up.get(&claim.lane).is_some_and(|epoch| claim.epoch <= *epoch) {
            return false;
        }
        self.given_up.remove(&claim.lane);
        self.lives += 1;
        let lane = Lane {
            claim,
            life: self.lives,
            taken: VecDeque::new(),
            first: 0,
            cursor,
            stored: cursor,
            dead: Vec::new(),
            leaving: false,
            append: 0,
        };
        self.lanes.insert(claim.lane, lane);
        true
    }

    /// Strikes a lane out: nothing of it is this worker's business any more.
    pub(crate) fn strike(&mut self, lane: u16) -> Option<Claim> {
        let claim = self.lanes.remove(&lane)?.claim;
        self.given_up.insert(lane, claim.epoch);
        Some(claim)
    }

    pub(crate) fn len(&self) -> usize {
        self.lanes.len()
    }

    pub(crate) fn epoch(&self, lane: u16) -> Option<u64> {
        self.lanes.get(&lane).map(|lane| lane.claim.epoch)
    }

    pub(crate) fn claims(&self) -> Vec<Claim> {
        self.lanes.values().map(|lane| lane.claim).collect()
    }

    /// The epoch was raised by this worker itself.
    pub(crate) fn raised(&mut self, claim: Claim) {
        if let Some(lane) = self.lanes.get_mut(&claim.lane) {
            lane.claim = claim;
        }
    }

    /// Notes a command that was taken. `None` if its lane isn't this worker's.
    pub(crate) fn take(&mut self, place: Place) -> Option<Ticket> {
        let lane = self.lanes.get_mut(&place.lane).filter(|lane| !lane.leaving)?;
        let number = lane.first + lane.taken.len() as u64;
        lane.taken.push_back(Taken { cursor: place.cursor, settled: false });
        Some(Ticket { lane: place.lane, life: lane.life, number })
    }

    fn of(&mut self, ticket: Ticket) -> Option<&mut Lane> {
        self.lanes.get_mut(&ticket.lane).filter(|lane| lane.life == ticket.life)
    }

    /// Whether the lane is still the one that the command was taken from.
    pub(crate) fn holds(&mut self, ticket: Ticket) -> bool {
        self.of(ticket).is_some()
    }

    /// Notes that a command is done with, once the next append is committed.
    pub(crate) fn settle(&mut self, ticket: Ticket) {
        let Some(lane) = self.of(ticket) else { return };
        let index = ticket.number.checked_sub(lane.first).map(|index| index as usize);
        if let Some(taken) = index.and_then(|index| lane.taken.get_mut(index)) {
            taken.settled = true;
        }
        while let Some(passed) = lane.taken.pop_front_if(|taken| taken.settled) {
            lane.first += 1;
            lane.cursor = passed.cursor.or(lane.cursor);
        }
    }

    /// Sets a command aside with the next append.
    pub(crate) fn set_aside(&mut self, ticket: Ticket, letter: DeadLetter) {
        if let Some(lane) = self.of(ticket) {
            lane.dead.push(letter);
        }
        self.settle(ticket);
    }

    /// Whether commands were set aside that no append has taken along.
    pub(crate) fn has_dead(&self) -> bool {
        self.lanes.values().any(|lane| !lane.dead.is_empty())
    }

    /// What append number `append` is to take along. `touched` are the lanes of its commands: they are
    /// listed in any case, so that they are fenced.
    pub(crate) fn progress(
        &mut self,
        append: u64,
        touched: impl IntoIterator<Item = u16>,
    ) -> Vec<LaneProgress> {
        for lane in touched {
            if let Some(lane) = self.lanes.get_mut(&lane) {
                lane.append = append;
            }
        }
        let due = |lane: &&mut Lane| {
            lane.append == append || lane.cursor != lane.stored || !lane.dead.is_empty()
        };
        self.lanes
            .values_mut()
            .filter(due)
            .map(|lane| {
                lane.append = append;
                lane.stored = lane.cursor;
                LaneProgress {
                    claim: lane.claim,
                    cursor: lane.cursor,
                    dead: std::mem::take(&mut lane.dead),
                }
            })
            .collect()
    }

    /// What an append was to take along has come to nothing, or may have: the next one takes it.
    pub(crate) fn not_stored(&mut self, progress: Vec<LaneProgress>) {
        for LaneProgress { claim, dead, .. } in progress {
            if let Some(lane) = self.lanes.get_mut(&claim.lane) {
                lane.stored = None;
                lane.dead.splice(0..0, dead);
            }
        }
    }

    /// Has up to `count` lanes in all given up, those that are already to be among them. Gives those
    /// that nothing more is to be taken from.
    pub(crate) fn give_up(&mut self, count: usize) -> Vec<u16> {
        let leaving = self.lanes.values().filter(|lane| lane.leaving).count();
        let staying = self.lanes.iter_mut().rev().filter(|(_, lane)| !lane.leaving);
        staying
            .take(count.saturating_sub(leaving))
            .map(|(number, lane)| {
                lane.leaving = true;
                *number
            })
            .collect()
    }

    /// Strikes out the lanes that are to be given up and have nothing under way, now that
    /// `appended` appends are over.
    pub(crate) fn strike_left(&mut self, appended: u64) -> Vec<Claim> {
        let left = self.lanes.iter().filter(|(_, lane)| {
            lane.leaving && lane.taken.is_empty() && lane.dead.is_empty() && lane.append <= appended
        });
        let left: Vec<_> = left.map(|(number, _)| *number).collect();
        left.into_iter().filter_map(|lane| self.strike(lane)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(sequence: u64) -> LaneCursor {
        LaneCursor { stream: 1, sequence, at: sequence as i64 }
    }

    fn place(lane: u16, sequence: u64) -> Place {
        Place { lane, cursor: Some(cursor(sequence)) }
    }

    fn claim(lane: u16, epoch: u64) -> Claim {
        Claim { lane, epoch }
    }

    fn book(lanes: impl IntoIterator<Item = u16>) -> LaneBook {
        let mut book = LaneBook::default();
        for lane in lanes {
            assert!(book.enter(&Owned { claim: claim(lane, 1), cursor: None }));
        }
        book
    }

    #[test]
    fn the_cursor_passes_no_command_that_is_not_settled() {
        let mut book = book([3]);
        let tickets: Vec<_> = (1..=3).filter_map(|n| book.take(place(3, n))).collect();
        book.settle(tickets[1]);
        assert!(book.progress(1, []).is_empty(), "the first is still open");
        book.settle(tickets[0]);
        assert_eq!(book.progress(2, [])[0].cursor, Some(cursor(2)));
        assert!(book.progress(3, []).is_empty(), "it is stored");
        book.settle(tickets[0]);
        book.settle(tickets[2]);
        assert_eq!(book.progress(4, [])[0].cursor, Some(cursor(3)));
    }

    #[test]
    fn the_cursor_passes_what_stands_at_one_place_with_the_last_of_it() {
        let mut book = LaneBook::default();
        // Of a stream that is no more: nothing of the new one is before the first.
        assert!(book.enter(&Owned { claim: claim(3, 1), cursor: Some(cursor(9)) }));
        let at = |sequence: Option<u64>| Place { lane: 3, cursor: sequence.map(cursor) };
        let places = [at(None), at(None), at(Some(1)), at(Some(1)), at(Some(2))];
        let tickets = places.map(|place| book.take(place).expect("it is owned"));
        for (append, (ticket, stored)) in
            (1..).zip(tickets.into_iter().zip([None, None, Some(1), None, Some(2)]))
        {
            book.settle(ticket);
            let progress = book.progress(append, []);
            assert_eq!(progress.first().and_then(|lane| lane.cursor), stored.map(cursor));
        }
    }

    #[test]
    fn the_lanes_of_appends_are_listed_even_if_their_cursors_stay() {
        let mut book = book([3, 4]);
        let progress = book.progress(1, [4]);
        assert_eq!(progress, [LaneProgress { claim: claim(4, 1), cursor: None, dead: Vec::new() }]);
    }

    #[test]
    fn what_was_not_stored_is_stored_with_the_next_append() {
        let mut book = book([3]);
        let ticket = book.take(place(3, 1)).expect("it is owned");
        book.set_aside(ticket, DeadLetter { command: b"?".to_vec(), reason: "junk".into() });
        assert!(book.has_dead());
        let progress = book.progress(1, []);
        assert!(!book.has_dead() && progress[0].dead.len() == 1);
        book.not_stored(progress.clone());
        assert_eq!(book.progress(2, []), progress);
    }

    #[test]
    fn a_lane_is_given_up_once_the_journal_has_what_was_taken_from_it() {
        let mut book = book([1, 2, 3]);
        let ticket = book.take(place(3, 1)).expect("it is owned");
        assert_eq!(book.give_up(2), [3, 2]);
        assert!(book.give_up(2).is_empty(), "two are on their way");
        assert_eq!(book.take(place(3, 2)), None, "nothing more is taken");
        assert_eq!(book.strike_left(0), [claim(2, 1)]);
        book.settle(ticket);
        assert_eq!(book.progress(7, [3]).len(), 1);
        assert!(book.strike_left(6).is_empty(), "the append is under way");
        assert_eq!(book.strike_left(7), [claim(3, 1)]);
        assert_eq!(book.len(), 1);
    }

    #[test]
    fn a_lane_that_comes_back_begins_anew() {
        let mut book = book([3]);
        let old = book.take(place(3, 1)).expect("it is owned");
        book.strike(3);
        assert!(!book.holds(old));
        assert!(!book.enter(&Owned { claim: claim(3, 1), cursor: None }), "old news");
        assert!(book.enter(&Owned { claim: claim(3, 3), cursor: Some(cursor(9)) }));
        let new = book.take(place(3, 10)).expect("it is owned");
        book.settle(old);
        assert!(book.progress(1, []).is_empty(), "the old command is another's");
        book.settle(new);
        assert_eq!(book.progress(1, [])[0].cursor, Some(cursor(10)));
    }
}
