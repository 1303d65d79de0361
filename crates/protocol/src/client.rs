//! What clients see: the payloads of the wire contract's sections 1 and 5.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use verbatim_domain::conversation::{Attachment, ConversationKind, MessageSent, PersonalMessage};
use verbatim_domain::{
    ClientMessageId, ConversationId, MessageId, NotificationId, Personal, Sealed, UserId,
};

use crate::Timestamp;

/// `{success: true, data, timestamp}` around every answer, with what stands beside `data`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Success<T, E = NoExtra> {
    pub success: bool,
    pub data: T,
    #[serde(flatten)]
    pub extra: E,
    pub timestamp: Timestamp,
}

impl<T, E> Success<T, E> {
    /// The envelope of now.
    #[must_use]
    pub fn new(data: T, extra: E) -> Self {
        Self { success: true, data, extra, timestamp: Timestamp::now() }
    }
}

impl<T: JsonSchema, E: JsonSchema> JsonSchema for Success<T, E> {
    /// `MessageAnswer`, and `MessagesAnswer` for a list of them.
    fn schema_name() -> Cow<'static, str> {
        let name = T::schema_name();
        let name = match name
            .strip_prefix("Array_of_")
            .map(|entry| entry.strip_suffix('y').ok_or(entry))
        {
            Some(Ok(stem)) => format!("{stem}ies"),
            Some(Err(entry)) => format!("{entry}s"),
            None => name.into_owned(),
        };
        format!("{name}{}Answer", E::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = json_schema!({
            "type": "object",
            "properties": {
                "success": { "type": "boolean", "const": true },
                "data": generator.subschema_for::<T>(),
                "timestamp": generator.subschema_for::<Timestamp>(),
            },
            "required": ["success", "data", "timestamp"],
        });
        let extra = E::json_schema(generator);
        for (name, property) in
            extra.get("properties").and_then(Value::as_object).into_iter().flatten()
        {
            schema.ensure_object()["properties"][name] = property.clone();
        }
        for name in extra.get("required").and_then(Value::as_array).into_iter().flatten() {
            if let Some(Value::Array(required)) = schema.get_mut("required") {
                required.push(name.clone());
            }
        }
        schema
    }
}

/// Nothing beside `data`.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "")]
pub struct NoExtra {}

/// Beside what was made: whether it had been made before.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "")]
pub struct Duplicate {
    /// The same had been asked for before, and this is what it made; left out where it hadn't.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub duplicate: bool,
}

/// Beside a list: where it goes on.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "")]
pub struct More {
    /// The `cursor` of the next page; `null` at the end.
    pub next_cursor: Option<String>,
}

/// Beside the connections.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "")]
pub struct TotalConnections {
    /// How many sockets there are, over all gateways.
    pub total_connections: usize,
    /// Always `null`: the list is whole.
    pub next_cursor: Option<String>,
}

/// What is left unread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Unread {
    pub unread_count: u64,
}

/// The cursor that a `stream:ack` named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Acknowledged {
    pub cursor: String,
}

/// Everything that was missed has been sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StreamReady {
    /// Up to which the stream has been sent.
    pub cursor: String,
    /// How many messages were sent again or late.
    pub replayed: u64,
}

/// The client's cursor can't be honoured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StreamReset {
    pub reason: String,
}

/// What kind of sender: roles `agent` and `system` give that, all others `user`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SenderKind {
    User,
    Agent,
    System,
}

impl SenderKind {
    #[must_use]
    pub fn of_role(role: &str) -> Self {
        match role {
            "agent" => Self::Agent,
            "system" => Self::System,
            _ => Self::User,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SenderInfo {
    pub user_id: UserId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    pub role: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    #[serde(rename = "_id")]
    pub id: MessageId,
    pub conversation_id: ConversationId,
    pub sender: SenderKind,
    pub sender_id: UserId,
    pub content: String,
    pub attachments: Vec<Attachment>,
    pub sender_info: SenderInfo,
    pub created_at: Timestamp,
    /// 1, 2, 3 … within the conversation.
    pub sequence: u64,
    /// The message's place in the log; in the stream only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_message_id: Option<ClientMessageId>,
    /// Why there is neither content nor attachments; left out where there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<Unreadable>,
    /// What is yet to be opened, and never reaches a client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    pub sealed: Option<Sealed>,
}

/// Why something can't be read any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Unreadable {
    /// What its sender had written was erased.
    Erased,
    /// The key that it was sealed with is missing.
    KeyMissing,
}

impl Message {
    /// The message that an event tells of, without a cursor; what is sealed in it stays so.
    #[must_use]
    pub fn new(conversation_id: ConversationId, sent: MessageSent, recorded_at: Timestamp) -> Self {
        let created_at = sent.imported.map_or(recorded_at, |imported| imported.sent_at.into());
        let sender_info =
            SenderInfo { user_id: sent.sender_id.clone(), email: None, role: sent.sender_role };
        let mut message = Self {
            id: sent.message_id,
            conversation_id,
            sender: SenderKind::of_role(&sender_info.role),
            sender_id: sent.sender_id,
            content: String::new(),
            attachments: Vec::new(),
            sender_info,
            created_at,
            sequence: sent.sequence,
            cursor: None,
            client_message_id: sent.client_message_id,
            unreadable: None,
            sealed: None,
        };
        match sent.personal {
            Personal::Plain(said) => message.say(said),
            Personal::Sealed(sealed) => message.sealed = Some(sealed),
        }
        message
    }

    /// Puts in what its sender said.
    pub fn say(&mut self, said: PersonalMessage) {
        self.content = said.content;
        self.attachments = said.attachments;
        self.sender_info.email = said.email;
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Conversation {
    #[serde(rename = "_id")]
    pub id: ConversationId,
    #[serde(rename = "type")]
    pub kind: ConversationKind,
    pub title: Option<String>,
    pub member_ids: Vec<UserId>,
    pub created_by: UserId,
    /// `null` before the first.
    pub last_message: Option<Message>,
    /// Others' messages above the caller's read mark.
    pub unread_count: u64,
    pub created_at: Timestamp,
    /// The time of the latest activity: the last message's, or the start.
    pub updated_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Notification {
    #[serde(rename = "_id")]
    pub id: NotificationId,
    pub user_id: UserId,
    /// Always `message` so far.
    #[serde(rename = "type")]
    pub kind: NotificationKind,
    pub conversation_id: ConversationId,
    pub message_id: MessageId,
    pub sender_id: UserId,
    pub sender_info: SenderInfo,
    /// The message's first 140 characters.
    pub content: String,
    pub is_read: bool,
    pub read_at: Option<Timestamp>,
    pub created_at: Timestamp,
    /// Why there is no content; left out where there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<Unreadable>,
    /// What is yet to be opened, and never reaches a client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    pub sealed: Option<Sealed>,
}

impl Notification {
    /// How many characters of a message it shows.
    const EXCERPT: usize = 140;

    /// What it shows of a message.
    #[must_use]
    pub fn excerpt(content: &str) -> &str {
        content.char_indices().nth(Self::EXCERPT).map_or(content, |(end, _)| &content[..end])
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NotificationKind {
    Message,
}

/// What became of a message for one recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    pub user_id: UserId,
    pub status: DeliveryStatus,
    pub updated_at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryStatus {
    /// Not known to have arrived.
    Pending,
    /// The recipient had no socket; a notification waits.
    Offline,
    Delivered,
}

/// One entry of a list's page, and the cursor of the next one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Page<T> {
    pub data: Vec<T>,
    /// `null` at the end.
    pub next_cursor: Option<String>,
}

/// How many entries a page has unless asked otherwise.
pub const DEFAULT_PAGE: u32 = 50;
/// The most entries of a page.
pub const MAX_PAGE: u32 = 200;
