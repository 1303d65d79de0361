//! What each call answers: on success, and by which failures.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::Value;
use verbatim_analytics::{self as analytics, Row};
use verbatim_proof::Proof;
use verbatim_protocol::client::{
    Acknowledged, Conversation, Delivery, Duplicate, Message, More, Notification, Success,
    TotalConnections, Unread,
};
use verbatim_protocol::presence::Connection;
use verbatim_protocol::{Envelope, ErrorCode, Timestamp};

use crate::requests::{ConversationStood, Erasure, Keys, SealedCheckpoint, payload};

/// A call's answers.
pub(super) trait Contract {
    /// The envelope on success.
    type Answer: JsonSchema;
    /// Each status of success, and what it says.
    const SUCCESSES: &'static [(u16, &'static str)];
    /// What may go wrong besides [`ALWAYS`].
    const FAILURES: &'static [ErrorCode];
    /// Whether a token is needed.
    const GUARDED: bool = true;
    /// Whether there is a body, which may be too long or of another type.
    const BODY: bool = false;
}

/// What may go wrong in any call.
pub(super) const ALWAYS: &[ErrorCode] = &[ErrorCode::Forbidden, ErrorCode::Internal];
/// And in any that needs a token.
pub(super) const GUARDED: &[ErrorCode] = &[
    ErrorCode::Unauthenticated,
    ErrorCode::TokenExpired,
    ErrorCode::RateLimited,
    ErrorCode::Unavailable,
];

const FOUND: &[(u16, &str)] = &[(200, "Here it is")];
const DONE: &[(u16, &str)] = &[(200, "Done")];
const MADE: &[(u16, &str)] =
    &[(201, "It is stored"), (200, "It had been stored before; nothing was stored again")];

const ERASED: &[(u16, &str)] =
    &[(201, "It is erased"), (200, "It had been erased before; there was nothing new to erase")];

macro_rules! contract {
    ($name:ident, $answer:ty, $successes:ident, [$($failure:ident),*] $($rest:tt)*) => {
        pub(super) struct $name;

        impl Contract for $name {
            type Answer = $answer;
            const SUCCESSES: &'static [(u16, &'static str)] = $successes;
            const FAILURES: &'static [ErrorCode] = &[$(ErrorCode::$failure),*];
            contract!(@ $($rest)*);
        }
    };
    (@) => {};
    (@ with body) => { const BODY: bool = true; };
    (@ for everyone) => { const GUARDED: bool = false; };
}

contract!(ConnectionIdGet, Success<ConnectionId>, FOUND, [BadRequest] for everyone);
contract!(ConnectionsGet, Success<Vec<Connection>, TotalConnections>, FOUND, []);
contract!(NotificationsGet, Success<Vec<Notification>, More>, FOUND, [BadRequest]);
contract!(NotificationsRead, Success<Unread>, DONE, [BadRequest, NotFound] with body);
contract!(ConversationsGet, Success<Vec<Conversation>, More>, FOUND, [BadRequest]);
contract!(ConversationCreate, Success<Conversation, Duplicate>, MADE,
    [BadRequest, IdempotencyConflict] with body);
contract!(ConversationRead, Success<Unread>, DONE, [BadRequest, NotFound] with body);
contract!(MessagesGet, Success<Vec<Message>, More>, FOUND, [BadRequest, NotFound]);
contract!(MessageSend, Success<Message, Duplicate>, MADE,
    [BadRequest, NotFound, IdempotencyConflict] with body);
contract!(DeliveriesGet, Success<Vec<Delivery>, More>, FOUND, [BadRequest, NotFound]);
contract!(StreamGet, Success<Vec<Message>, More>, FOUND, [BadRequest, CursorExpired]);
contract!(AuditEventsGet, Success<Vec<Envelope<'static>>, More>, FOUND, [BadRequest]);
contract!(AuditConversationGet, Success<ConversationStood, More>, FOUND, [BadRequest, NotFound]);
contract!(SubjectErase, Success<Erasure, Duplicate>, ERASED, [BadRequest, NotFound] with body);
contract!(AuditProofGet, Success<Proof>, FOUND, [BadRequest, NotFound]);
contract!(AuditConsistencyGet, Success<Proof>, FOUND, [BadRequest, NotFound]);
contract!(AuditCheckpointsGet, Success<Vec<SealedCheckpoint>, More>, FOUND, [BadRequest]);
contract!(AuditKeysGet, Success<Keys>, FOUND, []);
contract!(MessagesFigures, Success<Vec<Row<analytics::Messages>>, More>, FOUND, [BadRequest]);
contract!(UsersFigures, Success<Vec<Row<analytics::Users>>, More>, FOUND, [BadRequest]);
contract!(DeliveriesFigures, Success<Vec<Row<analytics::Deliveries>>, More>, FOUND, [BadRequest]);
contract!(ResponsesFigures, Success<Vec<Row<analytics::Responses>>, More>, FOUND, [BadRequest]);
contract!(ConnectionsFigures, Success<Vec<Row<analytics::Connections>>, More>, FOUND, [BadRequest]);
contract!(StreamAck, Success<Acknowledged>, DONE, [BadRequest, CursorExpired] with body);
contract!(Healthy, Success<Health>, FOUND, [] for everyone);
contract!(Ready, Success<Health>, FOUND, [Unavailable] for everyone);

/// Where to connect to, and how.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ConnectionId {
    /// What to give to the Socket.IO client.
    pub websocket_url: String,
    pub connection_info: ConnectionInfo,
    pub instructions: Instructions,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ConnectionInfo {
    pub protocol: Protocol,
    pub host: String,
    /// The scheme's default where the URL names none.
    pub port: String,
    pub timestamp: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Protocol {
    Ws,
    Wss,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Instructions {
    pub authentication: &'static str,
    pub events: &'static [&'static str],
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Health {
    pub status: Status,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    Ok,
}

/// A payload without the conversation, which stands in the path.
pub(super) struct InConversation<T>(std::marker::PhantomData<T>);

impl<T: JsonSchema> JsonSchema for InConversation<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("{}InConversation", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = T::json_schema(generator);
        let object = schema.ensure_object();
        if let Some(Value::Object(properties)) = object.get_mut("properties") {
            properties.remove("conversationId");
        }
        if let Some(Value::Array(required)) = object.get_mut("required") {
            required.retain(|name| name != "conversationId");
            if required.is_empty() {
                object.remove("required");
            }
        }
        if let Some(Value::Array(examples)) = object.get_mut("examples") {
            for example in examples.iter_mut().filter_map(Value::as_object_mut) {
                example.remove("conversationId");
            }
        }
        schema
    }
}

/// A message's payload in REST.
pub(super) type MessageBody = InConversation<payload::MessageSend>;
/// A read mark's payload in REST.
pub(super) type ReadBody = InConversation<payload::ConversationRead>;
