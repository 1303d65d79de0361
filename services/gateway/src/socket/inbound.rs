//! What comes in from one socket: worked on in order, so much at once, and so much waiting.
//!
//! All that a socket has under way is one task's, while there is anything. Making a task for each request
//! costs more than what most of them do there.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::CatchUnwind;
use prometheus_client::metrics::gauge::Gauge;
use serde::Deserialize;
use serde::de::{Deserializer as _, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;
use socketioxide::handler::Value;
use tokio::sync::oneshot;
use verbatim_protocol::{ErrorCode, Failure, List};

use super::log;
use super::outbound::Packet;
use super::session::Session;
use crate::requests::{Answer, AnswerFuture, Kind, failure_envelope};

/// The most bytes of one socket's requests that wait.
const WAITING_BYTES: usize = 8 * 1024 * 1024;
/// Requests of one socket that are answered before others have their turn.
const IN_ONE_GO: usize = 16;
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

/// A place among the requests under way: waits for an answer, then goes on with those that wait. A client
/// that doesn't take its answers gets no more of them worked on.
enum Work {
    /// Whatever goes wrong in one request, the next has its turn.
    Answering(Asker, CatchUnwind<AssertUnwindSafe<AnswerFuture>>),
    /// The answer leaves, or the socket goes.
    Leaving(oneshot::Receiver<()>),
}

impl Work {
    fn answering(asker: Asker, answer: AnswerFuture) -> Self {
        Self::Answering(asker, AssertUnwindSafe(answer).catch_unwind())
    }

    fn poll(&mut self, session: &Arc<Session>, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let left = match self {
                Self::Answering(asker, answer) => {
                    let outcome = ready!(answer.poll_unpin(context));
                    settle(session, *asker, outcome.unwrap_or_else(|_| Err(Failure::internal())))
                }
                Self::Leaving(left) => {
                    let _ = ready!(left.poll_unpin(context));
                    None
                }
            };
            *self = match left {
                Some(left) => Self::Leaving(left),
                None => match next(session) {
                    Some((asker, answer)) => Self::answering(asker, answer),
                    None => return Poll::Ready(()),
                },
            };
        }
    }
}

/// Takes a place, and has the socket's task go on with it.
fn go_on(session: &Arc<Session>, mut state: MutexGuard<'_, State>, work: Work) {
    state.at_work += 1;
    state.begun.push(work);
    if let Some(task) = state.task.clone() {
        drop(state);
        task.wake();
    } else {
        state.task = Some(Waker::noop().clone());
        drop(state);
        session.sockets.at_work.spawn(work_on(Arc::clone(session)));
    }
}

/// Does what has begun until nothing is left of it. All of it is looked at whenever something has happened:
/// mostly that is one batch of the journal's, which answers most of a socket's requests at once.
async fn work_on(session: Arc<Session>) {
    let mut working: Vec<Work> = Vec::new();
    poll_fn(|context| {
        let (mut done, mut index) = (0, 0);
        loop {
            if index == working.len() {
                let mut state = session.inbound.state();
                if state.begun.is_empty() {
                    if working.is_empty() {
                        state.task = None;
                        return Poll::Ready(());
                    }
                    state.task = Some(context.waker().clone());
                    return Poll::Pending;
                }
                working.append(&mut state.begun);
            }
            let Some(work) = working.get_mut(index) else { continue };
            match catch_unwind(AssertUnwindSafe(|| work.poll(&session, context))) {
                Ok(Poll::Pending) => index += 1,
                // One that panics keeps its place for ever, and the others go on.
                Ok(Poll::Ready(())) | Err(_) => {
                    working.remove(index);
                    done += 1;
                }
            }
            if done == IN_ONE_GO {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    })
    .await;
}

/// Starts the next request that waits, or gives the place back.
fn next(session: &Session) -> Option<(Asker, AnswerFuture)> {
    let mut state = session.inbound.state();
    let Some(Asked { packet, asker }) = state.waiting.pop_front() else {
        state.at_work -= 1;
        return None;
    };
    session.sockets.metrics.queued_requests.dec();
    let text = packet.as_str().map_or("", |text| text.as_str());
    state.waiting_bytes -= text.len();
    // Started under the lock: nobody else may start a later one first.
    Some((asker, start(session, asker.kind, Arguments::parse(text).first)))
}

/// Tells the client what became of a request that has a place. If the answer has to wait, the place
/// is to be kept until it has left.
#[must_use]
fn settle(
    session: &Arc<Session>,
    asker: Asker,
    outcome: Result<Answer, Failure>,
) -> Option<oneshot::Receiver<()>> {
    match outcome {
        Ok(answer) => answered(session, asker, &answer),
        Err(failure) => {
            let left = session.answer(refusal(asker, &failure));
            refused(session, asker, &failure);
            left
        }
    }
}

/// Tells the client that a request has no place. A flood of these counts as what is sent unasked.
fn refuse(session: &Arc<Session>, asker: Asker, failure: &Failure) {
    session.send(refusal(asker, failure));
    refused(session, asker, failure);
}

fn answered(
    session: &Arc<Session>,
    Asker { kind, ack }: Asker,
    answer: &Answer,
) -> Option<oneshot::Receiver<()>> {
    if kind == Kind::StreamAck {
        session.acknowledges();
    }
    let body = Arc::clone(&answer.body);
    let told = tells(kind, answer);
    let left = match ack {
        Some(id) => session.answer(Packet::Ack { id, body }),
        None if told => session.answer(Packet::event(kind.answering_event(), body)),
        None => None,
    };
    // What changed nothing brings no push; the list is due all the same.
    match kind {
        Kind::NotificationRead if answer.duplicate => {
            session.sockets.delivery.refresh(session.user(), List::Notifications);
        }
        Kind::ConversationRead if answer.duplicate => {
            session.sockets.delivery.refresh(session.user(), List::Conversations);
        }
        _ => {}
    }
    if kind == Kind::MessageSend {
        let target = answer.summary.target_user_id.as_ref();
        // Of a repeated send nothing is stored.
        if log::enabled()
            && !answer.duplicate
            && target.is_some_and(|target| !session.sockets.presence.is_connected(target))
        {
            log::target_not_connected(session);
        }
    } else if ack.is_some() || told {
        log::answered(session, kind, &answer.summary);
    }
    left
}

/// Whether an answer is told without an ack. A message comes by the stream, unless it did before;
/// lists that a request changed come as pushes; an acknowledgement needs no answer.
fn tells(kind: Kind, answer: &Answer) -> bool {
    match kind {
        Kind::MessageSend => answer.duplicate,
        Kind::NotificationRead
        | Kind::ConversationCreate
        | Kind::ConversationRead
        | Kind::StreamAck => false,
        _ => true,
    }
}

fn refusal(Asker { kind, ack }: Asker, failure: &Failure) -> Packet {
    let body = failure_envelope(failure);
    match ack {
        Some(id) => Packet::Ack { id, body },
        None => Packet::event(kind.answering_event(), body),
    }
}

/// Logs and counts a refusal.
fn refused(session: &Arc<Session>, Asker { kind, .. }: Asker, failure: &Failure) {
    if kind == Kind::MessageSend {
        log::send_failed(session, failure);
    } else {
        log::refused(session, kind, failure.code);
    }
    let limits = &session.sockets.settings.limits;
    if failure.code == ErrorCode::RateLimited
        && session.inbound.refused(limits.refusals, limits.refusal_window)
    {
        session.disconnect(&Failure::new(ErrorCode::RateLimited, "Too many refused requests"));
    }
}

/// An event packet's JSON array: the event's name, and its first argument's text.
#[derive(Default)]
struct Arguments<'a> {
    event: Option<Cow<'a, str>>,
    first: Option<&'a str>,
    /// The rest of the array is JSON, too.
    whole: bool,
}

impl<'a> Arguments<'a> {
    fn parse(text: &'a str) -> Self {
        #[derive(Deserialize)]
        struct Name<'a>(#[serde(borrow)] Cow<'a, str>);
        struct Array<'a, 'o>(&'o mut Arguments<'a>);

        impl<'a> Visitor<'a> for Array<'a, '_> {
            type Value = ();

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an event and its arguments")
            }

            fn visit_seq<A: SeqAccess<'a>>(self, mut array: A) -> Result<(), A::Error> {
                self.0.event = array.next_element()?.map(|Name(name)| name);
                let first: Option<&'a RawValue> = array.next_element()?;
                self.0.first = first.map(RawValue::get);
                while array.next_element::<IgnoredAny>()?.is_some() {}
                Ok(())
            }
        }

        let mut arguments = Self::default();
        let mut json = serde_json::Deserializer::from_str(text);
        let read = json.deserialize_seq(Array(&mut arguments));
        arguments.whole = read.and_then(|()| json.end()).is_ok();
        arguments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> (Option<String>, Option<&str>, bool) {
        let arguments = Arguments::parse(text);
        (arguments.event.map(Cow::into_owned), arguments.first, arguments.whole)
    }

    #[test]
    fn the_first_argument_counts() {
        let event = || Some("a".to_owned());
        assert_eq!(parse(r#"["a"]"#), (event(), None, true));
        assert_eq!(parse(r#"["a",null]"#), (event(), Some("null"), true));
        assert_eq!(parse(r#"["a",{"b":1},2,[]]"#), (event(), Some(r#"{"b":1}"#), true));
        assert_eq!(parse(r#"["\u0061" , 7 ]"#), (event(), Some("7"), true));
    }

    #[test]
    fn what_is_no_json_is_noticed() {
        let event = || Some("a".to_owned());
        assert_eq!(parse(r#"["a",{b}]"#), (event(), None, false));
        assert_eq!(parse(r#"["a",1"#), (event(), Some("1"), false));
        assert_eq!(parse(r#"["a",1] x"#), (event(), Some("1"), false));
        assert_eq!(parse("[1]"), (None, None, false));
        assert_eq!(parse(r#"{"a":1}"#), (None, None, false));
        assert_eq!(parse(""), (None, None, false));
    }

    #[test]
    fn depth_is_no_danger() {
        let deep = format!(r#"["a",{}{}]"#, "[".repeat(30_000), "]".repeat(30_000));
        assert!(parse(&deep).2);
    }

    #[test]
    fn refusals_are_counted_by_the_window() {
        let inbound = Inbound::new();
        let window = Duration::from_hours(1);
        assert!(!inbound.refused(2, window) && !inbound.refused(2, window));
        assert!(inbound.refused(2, window));
        assert!(!inbound.refused(2, Duration::ZERO), "a new window");
    }
}
