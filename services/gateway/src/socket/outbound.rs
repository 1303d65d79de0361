//! What goes out to one socket, in order, and what waits for it to be taken.
//!
//! Socket.IO's own channel is bounded in packets, fails when full, and must have room for a
//! heartbeat at any time. So it is given only what the transport is about to take: a small window
//! is in flight, the rest waits here: what was sent unasked bounded in packets and bytes, answers by
//! the requests under way, as each keeps its place until its answer has left here.

mod packet;
mod window;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use prometheus_client::metrics::gauge::Gauge;
use serde_json::value::RawValue;
use socketioxide::extract::AckSender;
use socketioxide::handler::{FromMessageParts, Value};
use socketioxide::{SendError, SocketError, TransportType};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::WireSocket;
use crate::http::Link;
use crate::settings::Limits;
use window::{Pushes, Window};

pub(crate) use packet::Packet;
pub(super) use window::CHANNEL_PACKETS;

/// Written messages are noted for the delivered mark in steps of this.
const MARK_STEP: Duration = Duration::from_secs(1);
/// What was written this long before a client's goodbye was read had arrived when the client said it.
/// What is younger may have crossed it on the way, and a client that has said goodbye takes nothing
/// any more.
const GOODBYE: Duration = Duration::from_secs(2);

/// How long a socket must live on, after a message was written to it, for the message to have
/// arrived: a whole heartbeat.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    pub ping_interval: Duration,
    pub ping_timeout: Duration,
    /// How long a move from polling to WebSocket may take. It can hold up one ping.
    pub upgrade_timeout: Duration,
}

impl Patience {
    fn for_written(self, since: Instant, upgraded: Option<Instant>) -> Duration {
        let whole = self.ping_interval + self.ping_timeout;
        match upgraded {
            Some(upgraded) if since <= upgraded + self.upgrade_timeout => {
                whole + self.ping_interval
            }
            _ => whole,
        }
    }
}

/// What became of a packet.
#[derive(Debug)]
pub(super) enum Pushed {
    /// It is in flight, or waits for those before it.
    Taken,
    /// It waits, and somebody has to see to it that it goes on ([`Outbound::drain`]).
    Waits,
    /// It is the socket's turn to be disconnected.
    Disconnect(WireSocket),
    /// The socket is gone.
    Gone,
    /// The socket has left too much unread; it is to be closed.
    TooMuch,
}

pub(crate) struct Outbound {
    link: Arc<Link>,
    max_packets: usize,
    max_bytes: usize,
    polling_bytes: usize,
    queued: Gauge,
    state: Mutex<State>,
}

struct State {
    wire: Wire,
    window: Window,
    queue: VecDeque<Queued>,
    queued_pushes: Pushes,
    /// A task empties the queue.
    draining: bool,
    /// Written messages whose arrival isn't known: since when, at the latest, and up to which
    /// position.
    marks: VecDeque<(Instant, u64)>,
}

struct Queued {
    packet: Packet,
    /// Whose answer it is waits for this to be dropped.
    answers: Option<oneshot::Sender<()>>,
}

impl Queued {
    /// Its bytes, if it is sent unasked.
    fn push(&self) -> Option<usize> {
        self.answers.is_none().then(|| self.packet.bytes())
    }
}

enum Wire {
    /// The handshake isn't over.
    Waiting,
    Open(WireSocket),
    Closed,
}

/// What Socket.IO made of a packet.
enum Emitted {
    Done,
    Full,
    Closed,
    Disconnect(WireSocket),
}

impl Outbound {
    pub fn new(link: Arc<Link>, limits: &Limits, queued: Gauge) -> Self {
        let state = State {
            wire: Wire::Waiting,
            window: Window::default(),
            queue: VecDeque::new(),
            queued_pushes: Pushes::default(),
            draining: false,
            marks: VecDeque::new(),
        };
        Self {
            link,
            max_packets: limits.unread_packets,
            max_bytes: limits.unread_bytes,
            polling_bytes: limits.packet_bytes,
            queued,
            state: Mutex::new(state),
        }
    }

    /// Opens the way out; what was to be sent before goes first. False if the socket is gone.
    pub(super) fn open(&self, socket: WireSocket) -> (bool, Pushed) {
        let mut state = self.state();
        if !matches!(state.wire, Wire::Waiting) {
            return (false, Pushed::Gone);
        }
        state.wire = Wire::Open(socket);
        let waits = if state.queue.is_empty() { Pushed::Taken } else { state.wait() };
        (true, waits)
    }

    /// Sends a packet after those before it.
    pub(super) fn push(&self, packet: Packet) -> Pushed {
        let mut state = self.state();
        if let Some(pushed) = self.at_once(&mut state, &packet, true) {
            return pushed;
        }
        let bytes = packet.bytes();
        let (in_flight, waiting) = (state.window.pushes(), state.queued_pushes);
        let unread = in_flight.bytes + waiting.bytes;
        // One packet alone may be larger than the bound: a list can.
        if in_flight.packets + waiting.packets >= self.max_packets
            || (unread > 0 && unread + bytes > self.max_bytes)
        {
            // After a packet that was refused, none may follow.
            state.shut(&self.queued);
            return Pushed::TooMuch;
        }
        state.queued_pushes.add(bytes);
        self.queue(&mut state, Queued { packet, answers: None })
    }

    /// Sends a request's answer after the packets before it, however many those are: whoever asked
    /// is not to ask for more until the receiver, if there is one, hears that it has left.
    pub(super) fn answer(&self, packet: Packet) -> (Pushed, Option<oneshot::Receiver<()>>) {
        let mut state = self.state();
        if let Some(pushed) = self.at_once(&mut state, &packet, false) {
            return (pushed, None);
        }
        let (answers, left) = oneshot::channel();
        (self.queue(&mut state, Queued { packet, answers: Some(answers) }), Some(left))
    }

    /// Sends a packet if none waits and there is room. `None` if it has to wait.
    fn at_once(&self, state: &mut State, packet: &Packet, is_push: bool) -> Option<Pushed> {
        if matches!(state.wire, Wire::Closed) || self.link.is_closed() {
            return Some(Pushed::Gone);
        }
        if !state.queue.is_empty() {
            return None;
        }
        match self.emit(state, packet, is_push) {
            Emitted::Done => Some(Pushed::Taken),
            Emitted::Closed => Some(Pushed::Gone),
            Emitted::Disconnect(socket) => Some(Pushed::Disconnect(socket)),
            Emitted::Full => None,
        }
    }

    fn queue(&self, state: &mut State, queued: Queued) -> Pushed {
        state.queue.push_back(queued);
        self.queued.inc();
        if matches!(state.wire, Wire::Open(_)) { state.wait() } else { Pushed::Taken }
    }

    /// Sends what waits, as fast as the transport takes it, until nothing does. Whoever gets
    /// [`Pushed::Waits`] calls it. Gives the socket back when it is to be disconnected.
    pub(super) async fn drain(&self) -> Option<WireSocket> {
        loop {
            let written = self.link.written();
            let full = {
                let mut state = self.state();
                loop {
                    if self.link.is_closed() {
                        state.draining = false;
                        return None;
                    }
                    let Some(next) = state.queue.pop_front() else {
                        state.draining = false;
                        return None;
                    };
                    let push = next.push();
                    let emitted = self.emit(&mut state, &next.packet, push.is_some());
                    if matches!(emitted, Emitted::Full) {
                        state.queue.push_front(next);
                        break state.window.is_empty();
                    }
                    if let Some(bytes) = push {
                        state.queued_pushes.remove(bytes);
                    }
                    self.queued.dec();
                    match emitted {
                        Emitted::Done | Emitted::Full => {}
                        Emitted::Closed => {
                            state.draining = false;
                            return None;
                        }
                        Emitted::Disconnect(socket) => {
                            state.draining = false;
                            return Some(socket);
                        }
                    }
                }
            };
            self.progress(written, full).await;
        }
    }

    /// Waits until a packet of `bytes` would go straight out. False once the socket is gone.
    pub async fn room(&self, packet: &Packet) -> bool {
        loop {
            let written = self.link.written();
            let full = {
                let mut state = self.state();
                if matches!(state.wire, Wire::Closed) {
                    return false;
                }
                let polling = state.settle(written).is_some_and(polling);
                if state.queue.is_empty() && self.fits(&state.window, packet.bytes(), polling) {
                    return true;
                }
                state.window.is_empty()
            };
            if self.link.is_closed() {
                return false;
            }
            self.progress(written, full).await;
        }
    }

    /// Waits until the transport has taken more. With nothing of ours in flight there is nothing to
    /// wait for but what the transport has of its own.
    async fn progress(&self, written: u64, idle: bool) {
        let limit = if idle { Duration::from_millis(20) } else { Duration::from_secs(1) };
        let _ = tokio::time::timeout(limit, self.link.progress(written)).await;
    }

    /// Whether everything has been taken.
    pub fn is_idle(&self) -> bool {
        let mut state = self.state();
        state.settle(self.link.written());
        matches!(state.wire, Wire::Closed) || (state.queue.is_empty() && state.window.is_empty())
    }

    /// Lets nothing out any more. The highest position that has arrived if the client has just said
    /// goodbye; each once.
    pub fn close(&self) -> Option<u64> {
        let mut state = self.state();
        state.settle(self.link.written());
        state.shut(&self.queued);
        let arrived = state.arrived(Instant::now(), |_| GOODBYE);
        state.marks = VecDeque::new();
        arrived
    }

    /// The highest position that has surely arrived, as the socket is alive at `now`; each once.
    /// `keep` hears under the lock whether more is to come.
    pub fn arrived(
        &self,
        now: Instant,
        patience: Patience,
        keep: impl FnOnce(bool),
    ) -> Option<u64> {
        let upgraded = self.link.upgraded();
        let mut state = self.state();
        state.settle(self.link.written());
        let arrived = state.arrived(now, |since| patience.for_written(since, upgraded));
        let open = !matches!(state.wire, Wire::Closed);
        let more = !state.marks.is_empty() || !state.queue.is_empty() || !state.window.is_empty();
        keep(open && more);
        arrived
    }

    /// Forgets what was written: the client says itself what it has received.
    pub fn forget_marks(&self) {
        self.state().marks = VecDeque::new();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn emit(&self, state: &mut State, packet: &Packet, is_push: bool) -> Emitted {
        let Some(transport) = state.settle(self.link.written()) else {
            return if matches!(state.wire, Wire::Closed) {
                Emitted::Closed
            } else {
                Emitted::Full
            };
        };
        let bytes = packet.bytes();
        if !self.fits(&state.window, bytes, polling(transport)) {
            return Emitted::Full;
        }
        let Wire::Open(socket) = &state.wire else { return Emitted::Closed };
        let emitted = match packet {
            Packet::Event { name, body, .. } => socket.emit(name, &**body),
            Packet::Ack { id, body } => acknowledge(socket, *id, body),
            Packet::Disconnect => return Emitted::Disconnect(Arc::clone(socket)),
        };
        match emitted {
            Ok(()) => {
                state.window.emitted(bytes, packet.position(), is_push);
                Emitted::Done
            }
            Err(SendError::Socket(SocketError::InternalChannelFull)) => Emitted::Full,
            Err(SendError::Socket(SocketError::Closed)) => Emitted::Closed,
            Err(SendError::Serialize(error)) => {
                tracing::error!(%error, "a packet can't be written");
                Emitted::Done
            }
        }
    }

    fn fits(&self, window: &Window, bytes: usize, polling: bool) -> bool {
        window.fits(bytes, if polling { Some(self.polling_bytes) } else { None })
    }
}

fn polling(transport: TransportType) -> bool {
    matches!(transport, TransportType::Polling)
}

fn acknowledge(socket: &WireSocket, id: i64, body: &RawValue) -> Result<(), SendError> {
    let mut none = Value::Bytes(Bytes::new());
    match AckSender::from_message_parts(socket, &mut none, &Some(id)) {
        Ok(ack) => ack.send(body),
        Err(never) => match never {},
    }
}

impl State {
    /// Notes what the transport has taken. The transport, if it is open.
    fn settle(&mut self, written: u64) -> Option<TransportType> {
        let position = self.window.settle(written);
        if position > 0 {
            let now = Instant::now();
            match self.marks.back_mut() {
                Some((since, last)) if now.duration_since(*since) < MARK_STEP => *last = position,
                _ => self.marks.push_back((now, position)),
            }
        }
        match &self.wire {
            Wire::Open(socket) => Some(socket.transport_type()),
            Wire::Waiting | Wire::Closed => None,
        }
    }

    /// Takes the marks of what has waited for so long by `now`; the highest position of those.
    fn arrived(&mut self, now: Instant, wait: impl Fn(Instant) -> Duration) -> Option<u64> {
        let mut arrived = None;
        while let Some((_, position)) =
            self.marks.pop_front_if(|(since, _)| now >= *since + MARK_STEP + wait(*since))
        {
            arrived = Some(position);
        }
        arrived
    }

    fn shut(&mut self, queued: &Gauge) {
        self.wire = Wire::Closed;
        queued.dec_by(self.queue.len() as i64);
        self.queue = VecDeque::new();
        self.queued_pushes = Pushes::default();
    }

    fn wait(&mut self) -> Pushed {
        if std::mem::replace(&mut self.draining, true) { Pushed::Taken } else { Pushed::Waits }
    }
}
