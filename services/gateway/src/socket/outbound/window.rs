//! What was given to Socket.IO and not yet taken by the transport.

use std::collections::VecDeque;

/// The most packets in flight. Socket.IO's channel has room for more, so that a heartbeat always
/// finds room: without it, it would take the socket for dead.
pub const MAX_PACKETS: usize = 224;
/// How many packets Socket.IO's channel holds.
pub const CHANNEL_PACKETS: usize = MAX_PACKETS + 32;
/// The most bytes in flight over a WebSocket.
const MAX_BYTES: usize = 256 * 1024;
/// What of a poll's answer is left for packets that aren't ours.
const POLL_RESERVE: usize = 1_024;

/// A count of bytes against what the transport says that it has taken. The transport counts
/// handshakes, frames and heartbeats too, which nobody here knows of; so each time that nothing is
/// in flight, both are set equal, and in between the count errs towards "taken" by a few bytes.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// Bytes given so far.
    given: u64,
    /// What the transport has taken beside those.
    foreign: u64,
    in_flight: VecDeque<InFlight>,
    /// Bytes given and taken.
    taken: u64,
    pushes: Pushes,
}

#[derive(Debug)]
struct InFlight {
    /// Where it ends.
    end: u64,
    position: u64,
    /// Its bytes, if it is a push.
    push: Option<usize>,
}

/// What was sent unasked. How much a client leaves unread of that is bounded; answers are bounded by
/// the requests that it may have under way.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Pushes {
    pub packets: usize,
    pub bytes: usize,
}

impl Pushes {
    pub fn add(&mut self, bytes: usize) {
        self.packets += 1;
        self.bytes += bytes;
    }

    pub fn remove(&mut self, bytes: usize) {
        self.packets -= 1;
        self.bytes -= bytes;
    }
}

impl Window {
    /// Notes how much the transport has taken in all. The highest position of what it has taken
    /// since the last time, 0 if none.
    pub fn settle(&mut self, written: u64) -> u64 {
        let taken = written.saturating_sub(self.foreign);
        let mut position = 0;
        while let Some(packet) = self.in_flight.pop_front_if(|packet| packet.end <= taken) {
            position = position.max(packet.position);
            self.taken = packet.end;
            if let Some(bytes) = packet.push {
                self.pushes.remove(bytes);
            }
        }
        if self.in_flight.is_empty() {
            self.foreign = written.saturating_sub(self.given);
            self.taken = self.given;
        }
        position
    }

    /// Notes that a packet was given.
    pub fn emitted(&mut self, bytes: usize, position: u64, is_push: bool) {
        self.given += bytes as u64;
        let push = is_push.then_some(bytes);
        if is_push {
            self.pushes.add(bytes);
        }
        self.in_flight.push_back(InFlight { end: self.given, position, push });
    }

    /// Whether a packet of `bytes` may be given now. A poll's answer must be able to hold all that
    /// is in flight: what doesn't fit would be lost if the session became a WebSocket just then.
    pub fn fits(&self, bytes: usize, poll: Option<usize>) -> bool {
        let most = poll.map_or(MAX_BYTES, |poll| poll.saturating_sub(POLL_RESERVE));
        let (packets, unread) = self.unread();
        // Between two packets of a poll's answer stands a separator.
        packets == 0 || (packets < MAX_PACKETS && unread + packets + bytes <= most)
    }

    /// What of those in flight was sent unasked.
    pub fn pushes(&self) -> Pushes {
        self.pushes
    }

    /// Packets and bytes in flight.
    fn unread(&self) -> (usize, usize) {
        (self.in_flight.len(), (self.given - self.taken) as usize)
    }

    pub fn is_empty(&self) -> bool {
        self.in_flight.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_transport_has_taken_is_no_longer_in_flight() {
        let mut window = Window::default();
        // A handshake of which nobody here knows.
        assert_eq!(window.settle(200), 0);
        window.emitted(100, 7, true);
        window.emitted(100, 0, true);
        window.emitted(100, 9, true);
        assert_eq!(window.settle(299), 0);
        assert_eq!(window.unread(), (3, 300));
        assert_eq!(window.settle(400), 7);
        assert_eq!(window.unread(), (1, 100));
        // A heartbeat in between makes the count err by its length, and no further.
        assert_eq!(window.settle(503), 9);
        assert!(window.is_empty());
        window.emitted(100, 11, true);
        assert_eq!(window.settle(602), 0);
        assert_eq!(window.settle(603), 11);
    }

    #[test]
    fn answers_in_flight_are_no_pushes() {
        let mut window = Window::default();
        window.emitted(100, 0, true);
        window.emitted(1_000, 0, false);
        window.emitted(200, 0, true);
        let pushes = window.pushes();
        assert_eq!((pushes.packets, pushes.bytes), (2, 300));
        window.settle(1_100);
        assert_eq!(window.pushes().bytes, 200);
        window.settle(1_300);
        assert_eq!((window.pushes().packets, window.pushes().bytes), (0, 0));
    }

    #[test]
    fn a_window_is_bounded_in_packets_and_bytes() {
        let mut window = Window::default();
        for _ in 0..MAX_PACKETS {
            assert!(window.fits(10, None));
            window.emitted(10, 0, true);
        }
        assert!(!window.fits(10, None));
        let mut window = Window::default();
        assert!(window.fits(10 * MAX_BYTES, None), "one packet always fits");
        window.emitted(MAX_BYTES - 100, 0, true);
        assert!(window.fits(99, None) && !window.fits(100, None));
    }

    #[test]
    fn a_polls_answer_holds_all_that_is_in_flight() {
        let mut window = Window::default();
        let mut answer = 0;
        while window.fits(100, Some(65_536)) {
            window.emitted(100, 0, true);
            answer += 101;
        }
        assert!(answer <= 65_536 && answer > 20_000, "{answer}");
    }
}
