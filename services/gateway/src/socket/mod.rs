//! Socket.IO: the sockets of this gateway.
//!
//! A handshake ([`connect`]) makes a [`Session`], found by user and by socket in the [`Registry`].
//! What the client sends goes through its [`inbound`] queue into the one path inwards that REST
//! takes too; what goes out to it goes through its [`outbound`] queue. An idle socket has no task.

mod connect;
mod inbound;
pub(crate) mod log;
mod outbound;
mod registry;
mod session;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::Rng;
use socketioxide::service::SocketIoService;
use socketioxide::socket::Socket;
use socketioxide::{ParserConfig, SocketIo};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use verbatim_protocol::{ErrorCode, Failure, Timestamp};

use crate::Settings;
use crate::auth::Verifier;
use crate::delivery::Delivery;
use crate::http::{Elsewhere, Link};
use crate::metrics::Metrics;
use crate::presence::Presence;
use crate::requests::{Requests, failure_envelope};
use outbound::CHANNEL_PACKETS;
use session::reason;

pub(crate) use outbound::{Packet, Patience};
pub(crate) use registry::Registry;
pub(crate) use session::Session;

/// A socket of Socket.IO's.
type WireSocket = Arc<Socket<socketioxide::adapter::LocalAdapter>>;

/// How long a session may take to move from polling to WebSocket.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often tokens are looked at for their expiry, and sessions for whether they are used.
const SWEEP: Duration = Duration::from_secs(1);
/// What each WebSocket keeps for reading, in bytes: most packets are smaller.
const READ_BUFFER: usize = 2_048;
/// The most binary attachments of a packet that is refused in good order.
const MAX_ATTACHMENTS: usize = 16;
/// Clients come back spread over so much time after a shutdown.
const COME_BACK_WITHIN_MS: u64 = 5_000;
/// How long the last words at shutdown may take.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// All sockets of this gateway, and what they need.
pub(crate) struct Sockets {
    settings: Arc<Settings>,
    verifier: Arc<Verifier>,
    requests: Arc<Requests>,
    presence: Arc<Presence>,
    metrics: Arc<Metrics>,
    registry: Arc<Registry>,
    delivery: Arc<Delivery>,
    /// Sockets' requests that were taken and are not answered.
    at_work: TaskTracker,
    tasks: TaskTracker,
    closing: AtomicBool,
    /// Sockets that left while their sessions went on.
    left: Mutex<VecDeque<Left>>,
}

/// A socket that left, and until when its session may go on without.
struct Left {
    id: Arc<str>,
    link: Arc<Link>,
    until: Instant,
}

/// What [`Sockets`] are made of.
pub(crate) struct Parts {
    pub settings: Arc<Settings>,
    pub verifier: Arc<Verifier>,
    pub requests: Arc<Requests>,
    pub presence: Arc<Presence>,
    pub metrics: Arc<Metrics>,
    pub registry: Arc<Registry>,
    pub delivery: Arc<Delivery>,
}

impl Sockets {
    pub fn new(parts: Parts) -> Arc<Self> {
        let Parts { settings, verifier, requests, presence, metrics, registry, delivery } = parts;
        Arc::new(Self {
            settings,
            verifier,
            requests,
            presence,
            metrics,
            registry,
            delivery,
            at_work: TaskTracker::new(),
            tasks: TaskTracker::new(),
            closing: AtomicBool::new(false),
            left: Mutex::default(),
        })
    }

    /// The service to be asked for everything under `/socket.io/`. One for the whole server: each
    /// has its own table of sessions.
    pub fn service(self: &Arc<Self>) -> SocketIoService<Elsewhere> {
        let limits = &self.settings.limits;
        let (service, io) = SocketIo::builder()
            .ping_interval(self.settings.ping_interval)
            .ping_timeout(self.settings.ping_timeout)
            .upgrade_timeout(UPGRADE_TIMEOUT)
            .connect_timeout(limits.auth_timeout)
            .max_buffer_size(CHANNEL_PACKETS)
            .ws_read_buffer_size(READ_BUFFER)
            .max_payload(limits.packet_bytes as u64)
            .ws_max_message_size(limits.packet_bytes)
            .ws_max_frame_size(limits.packet_bytes)
            .with_parser(
                ParserConfig::common()
                    .max_incoming_binaries(MAX_ATTACHMENTS)
                    .max_incoming_binary_buf_size(limits.packet_bytes),
            )
            .build_with_inner_svc(Elsewhere);
        io.ns("/", connect::Connect(Arc::clone(self)));
        service
    }

    /// Looks after the sockets until `shutdown`: those whose token has expired, and sessions that
    /// nobody uses.
    pub async fn run(&self, shutdown: CancellationToken) {
        let mut sweep = interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while shutdown.run_until_cancelled(sweep.tick()).await.is_some() {
            self.end_expired(Timestamp::now());
            self.end_unused(Instant::now());
        }
    }

    fn end_expired(&self, now: Timestamp) {
        for session in self.registry.all() {
            if session.caller.expires_at <= now {
                session.disconnect(&Failure::new(ErrorCode::TokenExpired, "Token expired"));
            }
        }
    }

    /// A socket has left its namespace; its session has as long to be used again as it had to be
    /// used at all.
    fn left(&self, session: &Session) {
        let until = Instant::now() + self.settings.limits.auth_timeout;
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let (id, link) = (Arc::clone(&session.id), Arc::clone(&session.link));
        left.push_back(Left { id, link, until });
    }

    fn end_unused(&self, now: Instant) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(Left { id, link, .. }) = left.pop_front_if(|left| left.until <= now) {
            if self.registry.get(&id).is_none() {
                link.close(reason::TRANSPORT_CLOSE);
            }
        }
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Breaks all transports off; the clients connect again by themselves.
    pub fn close_transports(&self) {
        for session in self.registry.all() {
            session.link.close(reason::TRANSPORT_CLOSE);
        }
    }

    /// Takes no new sockets and requests, finishes what was taken, says goodbye, and breaks all
    /// transports off, by `deadline`.
    pub async fn stop(&self, deadline: Instant) {
        self.closing.store(true, Ordering::Release);
        self.at_work.close();
        let _ = timeout_at(deadline - 2 * LAST_WORDS, self.at_work.wait()).await;
        let sessions = self.registry.all();
        for session in &sessions {
            let retry_after = rand::rng().random_range(0..=COME_BACK_WITHIN_MS);
            let failure = Failure::unavailable("The server is shutting down");
            let body = failure_envelope(&failure.retry_after(retry_after));
            session.emit("connection:closing", body);
        }
        let _ = timeout_at(Instant::now() + LAST_WORDS, async {
            while !sessions.iter().all(|session| session.outbound().is_idle()) {
                sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        // Sockets that came in between had no last words, but go too.
        let _ = timeout_at(deadline, async {
            loop {
                let sessions = self.registry.all();
                if sessions.is_empty() {
                    break;
                }
                for session in sessions {
                    session.link.close(reason::SHUTTING_DOWN);
                }
                sleep(Duration::from_millis(10)).await;
            }
            self.tasks.close();
            self.tasks.wait().await;
        })
        .await;
    }
}

/// What [`Delivery`] must know to tell what has surely arrived.
pub(crate) fn patience(settings: &Settings) -> Patience {
    Patience {
        ping_interval: settings.ping_interval,
        ping_timeout: settings.ping_timeout,
        upgrade_timeout: UPGRADE_TIMEOUT,
    }
}
