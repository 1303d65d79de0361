//! What clients ask for, whichever way they come: one parser, one set of rules, one kind of answer.
//!
//! A request is parsed and checked ([`payload`]), counted against the user's limits (`limiter`),
//! and becomes a command on the bus or a query to the views. Its answer is a whole envelope, which
//! Socket.IO and REST send as it is.

mod acks;
mod analytics;
mod audit;
mod connections;
mod conversations;
mod encryption;
pub mod envelope;
mod erasure;
mod kind;
mod limiter;
mod messages;
mod notifications;
pub mod payload;
mod reading;
mod seal;
mod stream;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;
use verbatim_audit::OpenedLog;
use verbatim_bus::ReplyFuture;
use verbatim_domain::inbox::{AdvanceDelivery, DeliveryOutcome};
use verbatim_domain::{ConversationId, InboxCommand, MessageId, UserId};
use verbatim_journal::Log;
use verbatim_protocol::client::{Duplicate, Success};
use verbatim_protocol::command::COMMAND_DEADLINE_MS;
use verbatim_protocol::{Command, CommandEnvelope, CommandKey, Failure, Timestamp};

use crate::metrics::Metrics;
use crate::presence::Presence;
use crate::{Ports, Settings};
use acks::Acks;
use limiter::{Class, Limiter};

pub use audit::{AsOf, AuditLines, ConversationStood};
pub use envelope::{envelope, failure_envelope};
pub use erasure::Erasure;
pub use kind::Kind;
pub use seal::{Keys, SealedCheckpoint};

/// Who asks, as their token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub user_id: UserId,
    pub email: Option<String>,
    /// `user` where the token has none.
    pub role: String,
    /// When the token expires.
    pub expires_at: Timestamp,
}

impl Caller {
    /// Whether the caller may do what is kept for admins.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.role == "admin"
    }
}

/// The answer to a request.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The whole envelope, `{"success":true,"data":…,"timestamp":…}`, as both Socket.IO and REST
    /// send it.
    pub body: Arc<RawValue>,
    /// Something new was made (REST: 201).
    pub created: bool,
    /// The same had been asked for before, and nothing was changed. In a creation's body
    /// `duplicate: true` tells of it.
    pub duplicate: bool,
    /// For the log lines.
    pub summary: Summary,
}

/// What the log lines tell of an answer.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// Entries in a list.
    pub count: Option<usize>,
    pub message_id: Option<MessageId>,
    pub conversation_id: Option<ConversationId>,
    pub target_user_id: Option<UserId>,
}

/// Resolves to the answer.
pub type AnswerFuture = BoxFuture<'static, Result<Answer, Failure>>;

/// The issuer of commands that clients gave no key. User ids hold no `$`.
const ISSUER: &str = "$gateway";
/// Whose inbox [`Requests::probe`] asks. Nobody's: what it asks for is so already.
const PROBED_USER: &str = "verbatim.readyz";

/// The way inwards, shared by Socket.IO and REST.
pub struct Requests {
    core: Arc<Core>,
}

/// What the answers' futures need.
struct Core {
    ports: Ports,
    settings: Arc<Settings>,
    presence: Arc<Presence>,
    /// What auditors read: the journal, opened.
    log: Arc<dyn Log>,
    stood: audit::Stood,
    metrics: Arc<Metrics>,
    limiter: Limiter,
    acks: Acks,
    waiting: encryption::Waiting,
}

impl Requests {
    pub fn new(
        ports: Ports,
        settings: Arc<Settings>,
        presence: Arc<Presence>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let log = OpenedLog::new(ports.journal.clone(), ports.keys.clone());
        let limiter = Limiter::new(&settings.limits, Instant::now());
        Self {
            core: Arc::new(Core {
                ports,
                settings,
                presence,
                log: Arc::new(log),
                stood: audit::Stood::default(),
                metrics,
                limiter,
                acks: Acks::default(),
                waiting: encryption::Waiting::default(),
            }),
        }
    }

    /// The event that answers `event`; `None` for one that the contract doesn't have.
    pub fn answering_event(event: &str) -> Option<&'static str> {
        Kind::of_event(event).map(Kind::answering_event)
    }

    /// Takes a request in. Limits and payload are checked, and a command to a conversation is on its way,
    /// or in its place behind others that wait for a key, when this returns: that keeps the order of what one socket sends. The future may be dropped; a
    /// command that is on its way is carried out all the same.
    ///
    /// `payload` is the JSON text of the event's first argument; none and `null` count as `{}`.
    pub fn start(&self, caller: &Arc<Caller>, event: &str, payload: Option<&str>) -> AnswerFuture {
        match Kind::of_event(event) {
            Some(kind) => self.take(caller, kind, payload),
            None => ready(Err(Failure::bad_request("There is no such event"))).boxed(),
        }
    }

    fn take(&self, caller: &Arc<Caller>, kind: Kind, payload: Option<&str>) -> AnswerFuture {
        let core = &self.core;
        let started = Instant::now();
        let class = if kind == Kind::MessageSend { Class::Sends } else { Class::Others };
        if let Err(refused) = core.limiter.take(&caller.user_id, class, started) {
            return self.answered(kind, started, Err::<futures::future::Pending<_>, _>(refused));
        }
        match kind {
            Kind::NotificationGet => {
                self.answered(kind, started, notifications::get(core, caller, payload))
            }
            Kind::NotificationRead => {
                self.answered(kind, started, notifications::read(core, caller, payload))
            }
            Kind::ConnectionGet => {
                self.answered(kind, started, connections::get(core, caller, payload))
            }
            Kind::ConversationGet => {
                self.answered(kind, started, conversations::get(core, caller, payload))
            }
            Kind::ConversationCreate => {
                self.answered(kind, started, conversations::create(core, caller, payload))
            }
            Kind::ConversationRead => {
                self.answered(kind, started, conversations::read(core, caller, payload))
            }
            Kind::MessageSend => {
                self.answered(kind, started, messages::send(core, caller, payload))
            }
            Kind::MessageGet => self.answered(kind, started, messages::get(core, caller, payload)),
            Kind::StreamGet => self.answered(kind, started, stream::get(core, caller, payload)),
            Kind::StreamAck => self.answered(kind, started, stream::ack(core, caller, payload)),
            Kind::DeliveriesGet => {
                self.answered(kind, started, messages::deliveries(core, caller, payload))
            }
            Kind::AuditEventsGet => {
                self.answered(kind, started, audit::events(core, caller, payload))
            }
            Kind::SubjectErase => {
                self.answered(kind, started, erasure::erase(core, caller, payload))
            }
            Kind::AuditConversationGet => {
                self.answered(kind, started, audit::conversation(core, caller, payload))
            }
            Kind::AuditProofGet => self.answered(kind, started, seal::proof(core, caller, payload)),
            Kind::AuditConsistencyGet => {
                self.answered(kind, started, seal::consistency(core, caller, payload))
            }
            Kind::AuditCheckpointsGet => {
                self.answered(kind, started, seal::checkpoints(core, caller, payload))
            }
            Kind::AuditKeysGet => self.answered(kind, started, seal::keys(core, caller, payload)),
            Kind::AnalyticsMessagesGet
            | Kind::AnalyticsUsersGet
            | Kind::AnalyticsDeliveriesGet
            | Kind::AnalyticsResponsesGet
            | Kind::AnalyticsConnectionsGet => {
                self.answered(kind, started, analytics::get(core, caller, kind, payload))
            }
        }
    }

    /// What became of a message for each of its recipients. REST only.
    pub fn deliveries(&self, caller: &Arc<Caller>, message_id: &str) -> AnswerFuture {
        self.take(caller, Kind::DeliveriesGet, Some(message_id))
    }

    /// Events of the log. REST only; the caller is an admin.
    pub fn audit_events(&self, caller: &Arc<Caller>, payload: &str) -> AnswerFuture {
        self.take(caller, Kind::AuditEventsGet, Some(payload))
    }

    /// All events of the log that were asked for, as lines of JSON; whoever reads them sets the pace.
    /// REST only; the caller is an admin.
    ///
    /// # Errors
    /// As [`audit_events`](Self::audit_events). An error that comes later ends the lines.
    pub async fn audit_lines(
        &self,
        caller: &Arc<Caller>,
        payload: &str,
    ) -> Result<AuditLines, Failure> {
        let (core, kind) = (&self.core, Kind::AuditEventsGet);
        let lines = async {
            core.limiter.take(&caller.user_id, Class::Others, Instant::now())?;
            audit::lines(core, caller, payload).await
        };
        let outcome = lines.await;
        let became = outcome.as_ref().map_or_else(|failure| failure.code.as_str(), |_| "ok");
        core.metrics.request(kind.as_str(), became);
        outcome
    }

    /// A conversation as it stood. REST only; the caller is an admin.
    pub fn audit_conversation(&self, caller: &Arc<Caller>, payload: &str) -> AnswerFuture {
        self.take(caller, Kind::AuditConversationGet, Some(payload))
    }

    /// Erases what a user has said. REST only; the caller is an admin.
    pub fn erase(&self, caller: &Arc<Caller>, payload: &str) -> AnswerFuture {
        self.take(caller, Kind::SubjectErase, Some(payload))
    }

    /// What proves that the log is what it was. REST only; the caller is an admin.
    pub fn audit_seal(&self, caller: &Arc<Caller>, kind: Kind, payload: &str) -> AnswerFuture {
        self.take(caller, kind, Some(payload))
    }

    /// What the log amounts to: one of the lists of analytics. REST only; the caller is an admin.
    pub fn analytics(&self, caller: &Arc<Caller>, list: Kind, payload: &str) -> AnswerFuture {
        self.take(caller, list, Some(payload))
    }

    /// Counts the outcome, whenever there is one.
    fn answered<F>(&self, kind: Kind, started: Instant, taken: Result<F, Failure>) -> AnswerFuture
    where
        F: Future<Output = Result<Answer, Failure>> + Send + 'static,
    {
        let core = Arc::clone(&self.core);
        match taken {
            Ok(answer) => answer
                .inspect(move |outcome| {
                    let became = match outcome {
                        Ok(_) => "ok",
                        Err(failure) => failure.code.as_str(),
                    };
                    core.metrics.request(kind.as_str(), became);
                    if kind == Kind::MessageSend && outcome.is_ok() {
                        core.metrics.send_took(started.elapsed());
                    }
                })
                .boxed(),
            Err(failure) => {
                core.metrics.request(kind.as_str(), failure.code.as_str());
                core.metrics.refusal(failure.code.as_str());
                ready(Err(failure)).boxed()
            }
        }
    }

    /// The whole list of the user's notifications, as `notification:get {}` gives it: for pushes.
    pub fn notifications_list(
        &self,
        user: &UserId,
    ) -> BoxFuture<'static, Result<Arc<RawValue>, Failure>> {
        let (core, user) = (Arc::clone(&self.core), user.clone());
        async move {
            let page = reading::page(None, None, false);
            notifications::list(&core, &user, false, page).await.map(|answer| answer.body)
        }
        .boxed()
    }

    /// The whole list of the user's conversations, as `conversation:get {}` gives it: for pushes.
    pub fn conversations_list(
        &self,
        user: &UserId,
    ) -> BoxFuture<'static, Result<Arc<RawValue>, Failure>> {
        let (core, user) = (Arc::clone(&self.core), user.clone());
        async move {
            let page = reading::page(None, None, false);
            conversations::list(&core, &user, page).await.map(|answer| answer.body)
        }
        .boxed()
    }

    /// Moves a user's delivered mark forward.
    pub fn advance_delivery(
        &self,
        user: &UserId,
        through: u64,
        outcome: DeliveryOutcome,
    ) -> ReplyFuture {
        let command = InboxCommand::AdvanceDelivery(AdvanceDelivery { through, outcome });
        self.core.send(Command::Inbox { user: user.clone(), command })
    }

    /// Whether a command would be settled within `within`. Asks journal and aggregate service;
    /// no event comes of it.
    ///
    /// # Errors
    /// What stands in the way, for operators.
    pub async fn probe(&self, within: Duration) -> Result<(), &'static str> {
        let user = PROBED_USER.parse().expect("it is a user id");
        let asked = async {
            // The command below appends nothing, so the journal is asked apart.
            self.core
                .ports
                .journal
                .check_writable()
                .await
                .map_err(|_| "the journal can't be written")?;
            self.advance_delivery(&user, 0, DeliveryOutcome::Presumed)
                .await
                .map_err(|_| "commands aren't carried out")
        };
        match tokio::time::timeout(within, asked).await {
            Ok(outcome) => outcome.map(|_| ()),
            Err(_) => Err("commands aren't carried out in time"),
        }
    }
}

impl Core {
    /// Sends a command that no client named.
    fn send(&self, command: Command) -> ReplyFuture {
        let command_id = Uuid::now_v7();
        let key = CommandKey { issuer: ISSUER.into(), key: command_id.to_string().into() };
        self.send_as(command_id, key, command)
    }

    fn send_as(&self, command_id: Uuid, key: CommandKey, command: Command) -> ReplyFuture {
        self.ports.bus.send(CommandEnvelope {
            command_id,
            key,
            deadline: Timestamp(Timestamp::now().0 + COMMAND_DEADLINE_MS as i64),
            traceparent: None,
            command,
        })
    }
}

impl Answer {
    /// Data and what stands beside it.
    pub(crate) fn new(data: impl Serialize, extra: impl Serialize) -> Self {
        Self {
            body: envelope::raw(&Success::new(data, extra)),
            created: false,
            duplicate: false,
            summary: Summary::default(),
        }
    }

    /// What was made, now or before.
    fn made(data: impl Serialize, duplicate: bool) -> Self {
        Self { created: !duplicate, duplicate, ..Self::new(data, Duplicate { duplicate }) }
    }

    fn with(mut self, summary: Summary) -> Self {
        self.summary = summary;
        self
    }

    fn counting(self, count: usize) -> Self {
        self.with(Summary { count: Some(count), ..Summary::default() })
    }
}
