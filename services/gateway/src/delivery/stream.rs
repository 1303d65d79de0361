//! What one socket has been sent of its user's stream, and what must wait until it has caught up.

use std::collections::VecDeque;
use std::sync::Arc;

use super::outgoing::Outgoing;

/// The most pushes that are kept for a socket that catches up.
const MOST_KEPT: usize = 1_000;
/// The most bytes of them.
const MOST_KEPT_BYTES: usize = 1024 * 1024;

/// One socket's place in the stream.
#[derive(Debug)]
pub(crate) struct Stream {
    /// Everything of the user's at or below was sent, or need not be.
    sent: u64,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// What comes is kept.
    Joining {
        kept: VecDeque<Arc<Outgoing>>,
        bytes: usize,
        overflowed: bool,
    },
    Live,
}

/// What becomes of a push.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Offer {
    /// Send it now.
    Send,
    Kept,
    /// It was sent before.
    Known,
    /// There is no room: what is kept is void, and must be read again.
    Overflow,
}

/// How a socket that catches up goes on.
#[derive(Debug)]
pub(super) enum Next {
    /// This one comes next.
    Send(Arc<Outgoing>),
    /// Pushes were lost: read again from the views, above `sent`.
    Again,
    /// It has caught up, and is live from now on.
    Live,
}

impl Stream {
    /// A socket that has been sent nothing.
    pub fn joining() -> Self {
        let phase = Phase::Joining { kept: VecDeque::new(), bytes: 0, overflowed: false };
        Self { sent: 0, phase }
    }

    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Everything at or below `position` was sent, or need not be.
    pub fn passed(&mut self, position: u64) {
        self.sent = self.sent.max(position);
    }

    /// A push comes in.
    pub(super) fn offer(&mut self, outgoing: &Arc<Outgoing>) -> Offer {
        if outgoing.position <= self.sent {
            return Offer::Known;
        }
        match &mut self.phase {
            Phase::Live => {
                self.sent = outgoing.position;
                Offer::Send
            }
            Phase::Joining { overflowed: true, .. } => Offer::Kept,
            Phase::Joining { kept, bytes, overflowed } => {
                *bytes += outgoing.bytes();
                if kept.len() < MOST_KEPT && *bytes <= MOST_KEPT_BYTES {
                    kept.push_back(Arc::clone(outgoing));
                    return Offer::Kept;
                }
                *kept = VecDeque::new();
                *overflowed = true;
                Offer::Overflow
            }
        }
    }

    /// Takes the next of what is kept; whoever gets it sends it before asking again.
    pub(super) fn next(&mut self) -> Next {
        let Phase::Joining { kept, bytes, overflowed } = &mut self.phase else { return Next::Live };
        if std::mem::take(overflowed) {
            *bytes = 0;
            return Next::Again;
        }
        while let Some(outgoing) = kept.pop_front() {
            *bytes -= outgoing.bytes();
            if outgoing.position > self.sent {
                self.sent = outgoing.position;
                return Next::Send(outgoing);
            }
        }
        self.phase = Phase::Live;
        Next::Live
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(position: u64) -> Arc<Outgoing> {
        Arc::new(Outgoing::example(position, 100))
    }

    fn drained(stream: &mut Stream) -> Vec<u64> {
        std::iter::from_fn(|| match stream.next() {
            Next::Send(outgoing) => Some(outgoing.position),
            Next::Again | Next::Live => None,
        })
        .collect()
    }

    #[test]
    fn what_comes_during_the_replay_follows_it_once() {
        let mut stream = Stream::joining();
        for position in 4..=9 {
            assert_eq!(stream.offer(&at(position)), Offer::Kept);
        }
        // The replay went up to 6.
        stream.passed(6);
        assert_eq!(drained(&mut stream), [7, 8, 9]);
        assert_eq!(stream.offer(&at(9)), Offer::Known);
        assert_eq!(stream.offer(&at(10)), Offer::Send);
        assert_eq!(stream.offer(&at(10)), Offer::Known);
        assert_eq!(stream.sent(), 10);
    }

    #[test]
    fn what_comes_while_the_kept_is_sent_waits_behind_it() {
        let mut stream = Stream::joining();
        stream.offer(&at(1));
        stream.offer(&at(2));
        assert!(matches!(stream.next(), Next::Send(first) if first.position == 1));
        assert_eq!(stream.offer(&at(3)), Offer::Kept);
        assert_eq!(drained(&mut stream), [2, 3]);
    }

    #[test]
    fn too_many_kept_are_read_again() {
        let mut stream = Stream::joining();
        stream.passed(5);
        for position in 6..6 + MOST_KEPT as u64 {
            assert_eq!(stream.offer(&at(position)), Offer::Kept);
        }
        assert_eq!(stream.offer(&at(5_000)), Offer::Overflow);
        assert_eq!(stream.offer(&at(5_001)), Offer::Kept, "told once");
        assert!(matches!(stream.next(), Next::Again));
        assert_eq!(stream.sent(), 5, "nothing of what was kept counts as sent");
        assert_eq!(stream.offer(&at(5_002)), Offer::Kept);
        stream.passed(5_001);
        assert_eq!(drained(&mut stream), [5_002]);
    }

    #[test]
    fn what_is_kept_is_bounded_in_bytes() {
        let mut stream = Stream::joining();
        let large = |position| Arc::new(Outgoing::example(position, MOST_KEPT_BYTES / 2));
        assert_eq!(stream.offer(&large(1)), Offer::Kept);
        assert_eq!(stream.offer(&large(2)), Offer::Overflow);
    }
}
