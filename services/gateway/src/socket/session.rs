//! One authenticated socket.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::sync::oneshot;
use verbatim_domain::UserId;
use verbatim_protocol::Failure;

use super::inbound::Inbound;
use super::outbound::{Outbound, Packet, Pushed};
use super::registry::Place;
use super::{Sockets, WireSocket, log};
use crate::delivery::Stream;
use crate::http::Link;
use crate::requests::{Caller, failure_envelope};

/// A client that is being disconnected and has sent nothing for this long is quiet.
const QUIET: Duration = Duration::from_millis(100);
/// How often it is looked whether it is.
const QUIET_CHECKS: u32 = 20;

/// The log's reasons for a socket's end, as Socket.IO names them.
pub(crate) mod reason {
    pub const CLIENT_DISCONNECT: &str = "client namespace disconnect";
    pub const SERVER_DISCONNECT: &str = "server namespace disconnect";
    pub const TRANSPORT_CLOSE: &str = "transport close";
    pub const TRANSPORT_ERROR: &str = "transport error";
    pub const PING_TIMEOUT: &str = "ping timeout";
    pub const PARSE_ERROR: &str = "parse error";
    pub const SHUTTING_DOWN: &str = "server shutting down";
}

/// A socket and all that the gateway keeps of it.
pub(crate) struct Session {
    pub id: Arc<str>,
    pub caller: Arc<Caller>,
    pub link: Arc<Link>,
    /// Whatever it sends lies above this position.
    pub begins_above: u64,
    pub(super) sockets: Arc<Sockets>,
    pub(super) outbound: Outbound,
    pub(super) inbound: Inbound,
    /// What it has been sent of its user's stream.
    stream: Mutex<Stream>,
    phase: Mutex<Phase>,
    /// The client says itself what it has received.
    acknowledges: AtomicBool,
    /// It is among those whose written messages are being watched.
    watched: AtomicBool,
}

enum Phase {
    /// Its handshake isn't over; the place among the user's sockets is taken.
    Connecting(Place),
    Connected(Place),
    Over,
}

impl Session {
    pub fn new(
        sockets: Arc<Sockets>,
        id: Arc<str>,
        caller: Arc<Caller>,
        link: Arc<Link>,
        place: Place,
    ) -> Self {
        let queued = sockets.metrics.queued_packets.clone();
        let outbound = Outbound::new(Arc::clone(&link), &sockets.settings.limits, queued);
        Self {
            id,
            caller,
            link,
            begins_above: sockets.delivery.head(),
            sockets,
            outbound,
            inbound: Inbound::new(),
            stream: Mutex::new(Stream::joining()),
            phase: Mutex::new(Phase::Connecting(place)),
            acknowledges: AtomicBool::new(false),
            watched: AtomicBool::new(false),
        }
    }

    pub fn user(&self) -> &UserId {
        &self.caller.user_id
    }

    pub fn stream(&self) -> MutexGuard<'_, Stream> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The handshake is over. False if the socket went meanwhile.
    pub(super) fn begin(self: &Arc<Self>, socket: WireSocket) -> bool {
        let mut phase = self.phase();
        let Phase::Connecting(place) = std::mem::replace(&mut *phase, Phase::Over) else {
            return false;
        };
        *phase = Phase::Connected(place);
        socket.join(format!("user:{}", self.user()));
        let (_, waits) = self.outbound.open(socket);
        let sockets = &self.sockets;
        sockets.presence.connected(self.user(), &self.id);
        sockets.registry.insert(Arc::clone(self));
        sockets.metrics.sockets.inc();
        log::connection_established(&self.id, &self.caller);
        log::user_connected(&self.id, &self.caller, sockets.presence.total());
        drop(phase);
        self.see_to(waits);
        true
    }

    /// The socket is gone.
    pub(super) fn end(&self, reason: &'static str) {
        let mut phase = self.phase();
        let before = std::mem::replace(&mut *phase, Phase::Over);
        let arrived = self.outbound.close();
        self.inbound.close(&self.sockets.metrics.queued_requests);
        let Phase::Connected(_place) = before else { return };
        let sockets = &self.sockets;
        sockets.registry.remove(self);
        if reason == reason::CLIENT_DISCONNECT
            && let Some(arrived) = arrived
            && !self.is_acknowledging()
        {
            // Before its user is told to be gone, so that nobody takes these for missed.
            sockets.delivery.arrived(self.user(), arrived);
        }
        sockets.presence.disconnected(self.user(), &self.id);
        sockets.metrics.sockets.dec();
        sockets.metrics.disconnected(reason);
        log::disconnected(self, reason);
    }

    pub fn is_over(&self) -> bool {
        matches!(*self.phase(), Phase::Over)
    }

    /// Sends a packet after those before it, or closes the transport if too many wait.
    pub fn send(self: &Arc<Self>, packet: Packet) {
        self.see_to(self.outbound.push(packet));
    }

    /// Sends a request's answer after the packets before it. If it has to wait, its request keeps its
    /// place until the receiver hears that it has left, or that the socket is gone.
    pub(super) fn answer(self: &Arc<Self>, packet: Packet) -> Option<oneshot::Receiver<()>> {
        let (pushed, left) = self.outbound.answer(packet);
        self.see_to(pushed);
        left
    }

    /// Sends an envelope on an event.
    pub fn emit(self: &Arc<Self>, event: &'static str, body: Arc<RawValue>) {
        self.send(Packet::event(event, body));
    }

    /// Waits until a packet would go straight out. False once the socket is gone.
    pub async fn has_room_for(&self, packet: &Packet) -> bool {
        self.outbound.room(packet).await
    }

    /// Breaks the transport off; the client connects again by itself.
    pub fn give_up(&self) {
        self.link.close(reason::TRANSPORT_CLOSE);
    }

    fn see_to(self: &Arc<Self>, pushed: Pushed) {
        match pushed {
            Pushed::Taken | Pushed::Gone => {}
            Pushed::Waits => {
                let session = Arc::clone(self);
                self.sockets.tasks.spawn(async move {
                    if let Some(socket) = session.outbound.drain().await {
                        session.leave(socket);
                    }
                });
            }
            Pushed::Disconnect(socket) => self.leave(socket),
            Pushed::TooMuch => {
                if self.link.close(reason::TRANSPORT_CLOSE) {
                    self.sockets.metrics.slow_readers.inc();
                    let (socket, user) = (&*self.id, self.user().as_str());
                    tracing::warn!(socket, userId = user, "too much left unread: closing");
                }
            }
        }
    }

    /// Tells the client why, takes no more requests, and takes the socket out of its namespace once
    /// the client is quiet: whatever it sends after that makes Socket.IO break its transport off, and
    /// the goodbye may be lost with it.
    pub fn disconnect(self: &Arc<Self>, why: &Failure) {
        if self.inbound.close(&self.sockets.metrics.queued_requests) {
            self.emit("connection:closing", failure_envelope(why));
            let session = Arc::clone(self);
            self.sockets.tasks.spawn(async move {
                session.quiet().await;
                session.send(Packet::Disconnect);
            });
        }
    }

    /// Waits until the client has stopped sending, for so long at most.
    async fn quiet(&self) {
        let mut seen = self.inbound.dropped();
        for _ in 0..QUIET_CHECKS {
            tokio::time::sleep(QUIET).await;
            let now = self.inbound.dropped();
            if now == std::mem::replace(&mut seen, now) {
                return;
            }
        }
    }

    fn leave(&self, socket: WireSocket) {
        if socket.disconnect().is_err() {
            // There was no room for the goodbye.
            self.link.close(reason::TRANSPORT_CLOSE);
        }
    }

    /// The client has said what it has received; nothing is presumed any more.
    pub(super) fn acknowledges(&self) {
        if !self.acknowledges.swap(true, Ordering::AcqRel) {
            self.outbound.forget_marks();
        }
    }

    pub fn is_acknowledging(&self) -> bool {
        self.acknowledges.load(Ordering::Acquire)
    }

    pub(crate) fn watched(&self) -> &AtomicBool {
        &self.watched
    }

    pub(crate) fn outbound(&self) -> &Outbound {
        &self.outbound
    }
}
