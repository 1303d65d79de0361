//! The `AsyncAPI` document: what Socket.IO clients can send, and what they are sent.

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};
use verbatim_protocol::client::{
    Acknowledged, Conversation, Duplicate, Message, More, Notification, StreamReady, StreamReset,
    Success, TotalConnections, Unread,
};
use verbatim_protocol::error::Failed;
use verbatim_protocol::presence::Connection;

use super::document::{TITLE, VERSION};
use crate::requests::{Kind, payload};

const DESCRIPTION: &str = "\
Socket.IO v4 (Engine.IO protocol 4), path `/socket.io/`, namespace `/`, transports `polling` and \
`websocket`. The handshake carries a JWT in `auth.token`, or in an `Authorization: Bearer` header, \
and may carry the last applied cursor in `auth.cursor`.

Every event of a client takes an ack: one object, in place of the answering event. Without an ack \
the answer comes as the answering event; `message:receive` comes to every socket of the \
conversation's members anyway.";

struct Documents {
    /// They differ in what may be left out.
    received: SchemaGenerator,
    sent: SchemaGenerator,
    messages: Map<String, Value>,
    operations: Map<String, Value>,
}

/// The `AsyncAPI` 3.0 document, as served at `/asyncapi.json`.
pub fn asyncapi() -> String {
    let settings = SchemaSettings::draft07().with(|settings| {
        settings.meta_schema = None;
        settings.definitions_path = "/components/schemas".into();
    });
    let mut documents = Documents {
        received: settings.clone().for_deserialize().into_generator(),
        sent: settings
            .for_serialize()
            .with_transform(RecursiveTransform(super::schema::open))
            .into_generator(),
        messages: Map::new(),
        operations: Map::new(),
    };
    documents.requests();
    documents.pushes();
    format!("{:#}\n", documents.finish())
}

impl Documents {
    fn requests(&mut self) {
        type List<T> = Success<Vec<T>, More>;
        self.request::<payload::NotificationGet, List<Notification>>(
            Kind::NotificationGet,
            "The user's notifications, newest first.",
        );
        self.request::<payload::NotificationRead, Success<Unread>>(
            Kind::NotificationRead,
            "Mark notifications as read. The user's sockets get the whole list anew.",
        );
        self.request::<payload::ConnectionGet, Success<Vec<Connection>, TotalConnections>>(
            Kind::ConnectionGet,
            "Every socket on every gateway.",
        );
        self.request::<payload::ConversationGet, List<Conversation>>(
            Kind::ConversationGet,
            "The user's conversations, latest activity first.",
        );
        self.request::<payload::ConversationCreate, Success<Conversation, Duplicate>>(
            Kind::ConversationCreate,
            "Make a group. Each member's sockets get their whole list anew.",
        );
        self.request::<payload::ConversationRead, Success<Unread>>(
            Kind::ConversationRead,
            "Mark a conversation as read. The user's sockets get the whole list anew.",
        );
        self.request::<payload::MessageSend, Success<Message, Duplicate>>(
            Kind::MessageSend,
            "Send a message. Success is said once it is stored.",
        );
        self.request::<payload::MessageGet, List<Message>>(
            Kind::MessageGet,
            "A conversation's messages, ascending by `sequence`.",
        );
        self.request::<payload::StreamGet, List<Message>>(
            Kind::StreamGet,
            "Every message of every conversation of the user's, in log order.",
        );
        self.request::<payload::StreamAck, Success<Acknowledged>>(
            Kind::StreamAck,
            "Say how far the stream was applied. Answered by its ack only.",
        );
    }

    fn pushes(&mut self) {
        self.push::<Success<Message>>(
            "message:receive",
            "A message of one of the user's conversations, in log order, with its `cursor`.",
        );
        self.push::<Success<Vec<Conversation>, More>>(
            "conversation:receive",
            "The user's conversations, once there is another, or one was read.",
        );
        self.push::<Success<Vec<Notification>, More>>(
            "notification:receive",
            "The user's notifications, once some were read.",
        );
        self.push::<Success<StreamReady>>(
            "stream:ready",
            "Everything that was missed has been sent; what follows is live.",
        );
        self.push::<Success<StreamReset>>(
            "stream:reset",
            "The cursor can't be honoured; the server goes on as without one.",
        );
        self.push::<Failed>(
            "connection:closing",
            "The server is about to close the connection, and why.",
        );
    }

    /// An event of the client's and its answers.
    fn request<P: JsonSchema, A: JsonSchema>(&mut self, kind: Kind, summary: &str) {
        let name = kind.as_str();
        let answered = kind.answering_event();
        let payload = self.received.subschema_for::<P>();
        let answer = json!({
            "oneOf": [self.sent.subschema_for::<A>(), self.sent.subschema_for::<Failed>()],
        });
        let asked = self.message(&id(name), name, summary, payload.as_value());
        let summary_of_answer = format!("The answer to `{name}`, in its ack or as `{answered}`.");
        let answered =
            self.message(&format!("{}.answer", id(name)), answered, &summary_of_answer, &answer);
        self.operations.insert(
            id(name),
            json!({
                "action": "receive",
                "summary": summary,
                "channel": { "$ref": CHANNEL },
                "security": [{ "$ref": "#/components/securitySchemes/token" }],
                "messages": [asked],
                "reply": { "channel": { "$ref": CHANNEL }, "messages": [answered] },
            }),
        );
    }

    /// An event that comes unasked.
    fn push<P: JsonSchema>(&mut self, name: &str, summary: &str) {
        let payload = self.sent.subschema_for::<P>();
        let id = format!("{}.push", id(name));
        let pushed = self.message(&id, name, summary, payload.as_value());
        self.operations.insert(
            id,
            json!({
                "action": "send",
                "summary": summary,
                "channel": { "$ref": CHANNEL },
                "messages": [pushed],
            }),
        );
    }

    /// Adds a message, and gives the reference to it.
    fn message(&mut self, id: &str, name: &str, summary: &str, payload: &Value) -> Value {
        let message = json!({
            "name": name,
            "summary": summary,
            "contentType": "application/json",
            "payload": payload,
        });
        self.messages.insert(id.to_owned(), message);
        json!({ "$ref": format!("{CHANNEL}/messages/{id}") })
    }

    fn finish(mut self) -> Value {
        let mut schemas = self.received.take_definitions(true);
        for (name, schema) in self.sent.take_definitions(true) {
            let known = schemas.entry(name.clone()).or_insert_with(|| schema.clone());
            assert_eq!(*known, schema, "two types go by the name {name}");
        }
        let messages: Map<String, Value> = self
            .messages
            .keys()
            .map(|id| (id.clone(), json!({ "$ref": format!("#/components/messages/{id}") })))
            .collect();
        json!({
            "asyncapi": "3.0.0",
            "info": { "title": TITLE, "version": VERSION, "description": DESCRIPTION },
            "defaultContentType": "application/json",
            "channels": { "socket": {
                "address": "/socket.io/",
                "description": "One Socket.IO connection, in the namespace `/`.",
                "messages": messages,
            } },
            "operations": self.operations,
            "components": {
                "messages": self.messages,
                "schemas": schemas,
                "securitySchemes": { "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "Given in the handshake's `auth.token`.",
                } },
            },
        })
    }
}

const CHANNEL: &str = "#/channels/socket";

/// An event's name as an identifier.
fn id(event: &str) -> String {
    event.replace(':', ".")
}
