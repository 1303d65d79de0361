//! What comes in from one socket: worked on in order, so much at once, and so much waiting.

mod answers;
mod arguments;
mod work;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use futures::FutureExt;
use prometheus_client::metrics::gauge::Gauge;
use socketioxide::handler::Value;
use verbatim_protocol::{ErrorCode, Failure};

use super::log;
use super::session::Session;
use crate::requests::{AnswerFuture, Kind};
use answers::{refuse, settle};
use arguments::Arguments;
use work::{Work, go_on};

/// The most bytes of one socket's requests that wait.
const WAITING_BYTES: usize = 8 * 1024 * 1024;
/// When to try again after the queue was full.
const FULL_RETRY_MS: u64 = 1_000;

/// One socket's requests.
pub(super) struct Inbound {
    state: Mutex<State>,
}

struct State {
    at_work: usize,
    /// Begun since the task was polled last.
    begun: Vec<Work>,
    /// The task's, while there is one.
    task: Option<Waker>,
    waiting: VecDeque<Asked>,
    waiting_bytes: usize,
    /// When the refusals began to be counted, and how many there were.
    refusals: (Instant, u32),
    closed: bool,
    /// Packets that came after it was closed.
    dropped: u64,
}

/// A request that waits.
struct Asked {
    packet: Value,
    asker: Asker,
}

/// What a request's answer needs.
#[derive(Clone, Copy)]
struct Asker {
    kind: Kind,
    ack: Option<i64>,
}

impl Inbound {
    pub fn new() -> Self {
        let state = State {
            at_work: 0,
            begun: Vec::new(),
            task: None,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            refusals: (Instant::now(), 0),
            closed: false,
            dropped: 0,
        };
        Self { state: Mutex::new(state) }
    }

    /// Takes nothing any more, and forgets what waits. False if it did already.
    pub fn close(&self, queued: &Gauge) -> bool {
        let mut state = self.state();
        queued.dec_by(state.waiting.len() as i64);
        state.waiting = VecDeque::new();
        state.waiting_bytes = 0;
        !std::mem::replace(&mut state.closed, true)
    }

    /// Packets that came after it was closed.
    pub fn dropped(&self) -> u64 {
        self.state().dropped
    }

    /// Counts a refusal. True once there were so many that the socket is to be disconnected.
    fn refused(&self, most: u32, window: Duration) -> bool {
        let mut state = self.state();
        let now = Instant::now();
        if now.duration_since(state.refusals.0) > window {
            state.refusals = (now, 0);
        }
        state.refusals.1 += 1;
        state.refusals.1 > most
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes in one packet of the socket's: works on it, or lets it wait its turn, or refuses it.
pub(super) fn receive(session: &Arc<Session>, packet: Value, ack: Option<i64>) {
    {
        let mut state = session.inbound.state();
        if state.closed {
            state.dropped += 1;
            return;
        }
    }
    let metrics = &session.sockets.metrics;
    let (text, binary) = match &packet {
        Value::Str(text, attachments) => (text.as_str(), attachments.is_some()),
        Value::Bytes(_) => return,
    };
    let arguments = Arguments::parse(text);
    let Some(kind) = arguments.event.as_deref().and_then(Kind::of_event) else {
        metrics.unknown_events.inc();
        log::ignored(session);
        return;
    };
    let asker = Asker { kind, ack };
    log::received(session, kind, arguments.first);
    if binary {
        let failure = Failure::bad_request("Binary data is not supported");
        return refuse(session, asker, &failure);
    }
    if !arguments.whole {
        let failure = Failure::bad_request("The payload is not valid JSON");
        return refuse(session, asker, &failure);
    }
    let limits = &session.sockets.settings.limits;
    let bytes = text.len();
    let mut state = session.inbound.state();
    if state.closed {
        return;
    }
    if session.sockets.is_closing() {
        drop(state);
        let failure = Failure::unavailable("The server is shutting down");
        return refuse(session, asker, &failure.retry_after(FULL_RETRY_MS));
    }
    if state.at_work < limits.in_flight_per_socket {
        let mut answer = start(session, kind, arguments.first);
        // What was refused is answered at once, without a task; so is what is known at once, unless
        // its answer has to wait.
        match (&mut answer).now_or_never() {
            Some(Err(failure)) => {
                drop(state);
                refuse(session, asker, &failure);
            }
            Some(outcome) => {
                drop(state);
                if let Some(left) = settle(session, asker, outcome) {
                    // Nobody else takes places.
                    go_on(session, session.inbound.state(), Work::Leaving(left));
                }
            }
            None => go_on(session, state, Work::answering(asker, answer)),
        }
    } else if state.waiting.len() < limits.waiting_per_socket
        && state.waiting_bytes + bytes <= WAITING_BYTES
    {
        state.waiting_bytes += bytes;
        state.waiting.push_back(Asked { packet, asker });
        metrics.queued_requests.inc();
    } else {
        drop(state);
        metrics.refusal("queue_full");
        let failure = Failure::new(ErrorCode::RateLimited, "Too many requests wait on this socket");
        refuse(session, asker, &failure.retry_after(FULL_RETRY_MS));
    }
}

/// Starts a request; its place in the socket's order is settled when this returns.
fn start(session: &Session, kind: Kind, payload: Option<&str>) -> AnswerFuture {
    session.sockets.requests.start(&session.caller, kind.as_str(), payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_counted_by_the_window() {
        let inbound = Inbound::new();
        let window = Duration::from_hours(1);
        assert!(!inbound.refused(2, window) && !inbound.refused(2, window));
        assert!(inbound.refused(2, window));
        assert!(!inbound.refused(2, Duration::ZERO), "a new window");
    }
}
