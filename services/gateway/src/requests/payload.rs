//! What clients send: shapes and bounds, checked before anything reaches the bus.
//!
//! Fields that the contract doesn't have are ignored. Refusals name the field and the rule, never
//! the value: they are logged.

mod parse;
mod written;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use serde_json::json;
use verbatim_domain::conversation::{self, MAX_GROUP_MEMBERS};
use verbatim_domain::{ClientMessageId, ConversationId, MessageId, NotificationId, UserId};
use verbatim_protocol::Failure;
use verbatim_protocol::client::MAX_PAGE;

use crate::settings::Limits;
pub use parse::parse;
pub(super) use parse::refused;
use written::number;
pub use written::{MAX_TITLE_CHARACTERS, check_attachments, check_content, line};

const MAX_NOTIFICATION_IDS: usize = 200;

/// Which notifications.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(example = json!({ "unreadOnly": true }))]
pub struct NotificationGet {
    /// A list's `nextCursor`.
    pub cursor: Option<String>,
    #[schemars(range(min = 1, max = 200))]
    pub limit: Option<u32>,
    pub unread_only: Option<bool>,
}

/// Which notifications were read: either `ids` or `all`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = exactly_one)]
pub struct NotificationRead {
    #[serde(default, deserialize_with = "given")]
    pub ids: Option<Vec<NotificationId>>,
    /// All that there are.
    #[serde(default, deserialize_with = "given")]
    pub all: Option<bool>,
}

/// A value that may be left out, but not be null.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(reader: D) -> Result<Option<T>, D::Error> {
    T::deserialize(reader).map(Some)
}

fn exactly_one(schema: &mut Schema) {
    *schema = json_schema!({
        "description": "Which notifications were read: either `ids` or `all`.",
        "examples": [{ "all": true }],
        "oneOf": [
            {
                "title": "Some",
                "type": "object",
                "properties": { "ids": {
                    "type": "array", "minItems": 1, "maxItems": 200,
                    "items": { "type": "string", "format": "uuid" },
                } },
                "required": ["ids"],
                "not": { "required": ["all"] },
            },
            {
                "title": "All",
                "type": "object",
                "properties": { "all": { "type": "boolean", "enum": [true] } },
                "required": ["all"],
                "not": { "required": ["ids"] },
            },
        ],
    });
}

/// Nothing.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub struct ConnectionGet {}

/// Which conversations.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConversationGet {
    /// A list's `nextCursor`.
    pub cursor: Option<String>,
    #[schemars(range(min = 1, max = 200))]
    pub limit: Option<u32>,
}

/// A group of the caller and some others.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(example = json!({ "memberIds": ["user_456", "user_789"], "title": "Lunch" }))]
pub struct ConversationCreate {
    /// Made up by the server when left out.
    pub conversation_id: Option<ConversationId>,
    /// At least one besides the caller, and up to 1,000; the caller may be named too.
    #[schemars(length(min = 1, max = 1_001))]
    pub member_ids: Vec<UserId>,
    /// Without control characters.
    #[schemars(length(min = 1, max = 200), regex(pattern = r"^[^\u0000-\u001f\u007f-\u009f]+$"))]
    pub title: Option<String>,
}

/// Whose content is to be erased.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(example = json!({ "userId": "user_456" }))]
pub struct SubjectErase {
    pub user_id: UserId,
}

/// How far a conversation was read.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(example = json!({ "conversationId": "conv_123", "sequence": 7 }))]
pub struct ConversationRead {
    pub conversation_id: ConversationId,
    /// A message's `sequence`; the newest one's when left out.
    #[schemars(range(max = 9_007_199_254_740_991_u64))]
    pub sequence: Option<u64>,
}

/// A message.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(example = json!({
    "conversationId": "conv_123",
    "targetUserId": "user_456",
    "content": "Hello!",
    "clientMessageId": "my-first-message",
}))]
pub struct MessageSend {
    pub conversation_id: ConversationId,
    /// Starts a direct conversation with this user where there is none of this id yet.
    pub target_user_id: Option<UserId>,
    /// Up to 32,768 bytes of text (a setting), without NUL.
    #[schemars(length(min = 1, max = 32_768), regex(pattern = r"^[^\u0000]+$"))]
    pub content: String,
    #[schemars(length(max = 10))]
    pub attachments: Option<Vec<Attachment>>,
    /// The sender's own name for the message: sent again with the same one, it is the same message.
    #[serde(default)]
    #[schemars(schema_with = "client_message_id")]
    pub client_message_id: Option<ClientMessageId>,
}

fn client_message_id(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": ["string", "null"], "minLength": 1, "maxLength": 128, "pattern": r"^[^\u0000]+$",
    })
}

/// A file that lies elsewhere.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "NewAttachment")]
pub struct Attachment {
    #[schemars(length(min = 1, max = 255), regex(pattern = r"^[^\u0000-\u001f\u007f-\u009f]+$"))]
    pub name: String,
    /// `http` or `https`.
    #[schemars(
        length(max = 2_048),
        regex(
            pattern = r"^[Hh][Tt][Tt][Pp][Ss]?://([^\u0000-\u0020\u007f-\u00a0/?#@]*@)?[^\u0000-\u0020\u007f-\u00a0/?#@:][^\u0000-\u0020\u007f-\u00a0/?#@]*([/?#][^\u0000-\u0020\u007f-\u00a0]*)?$"
        )
    )]
    pub url: String,
    #[schemars(length(min = 1, max = 255), regex(pattern = r"^[^\u0000-\u001f\u007f-\u009f]+$"))]
    pub mime_type: Option<String>,
    /// In bytes.
    #[schemars(range(max = 9_007_199_254_740_991_u64))]
    pub size: Option<u64>,
}

/// Which messages of a conversation; the newest without any bounds.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(example = json!({ "conversationId": "conv_123", "limit": 20 }))]
pub struct MessageGet {
    pub conversation_id: ConversationId,
    /// Messages below this `sequence`.
    #[schemars(range(max = 9_007_199_254_740_991_u64))]
    pub before: Option<u64>,
    /// Messages above this `sequence`.
    #[schemars(range(max = 9_007_199_254_740_991_u64))]
    pub after: Option<u64>,
    /// The message of this `sequence` and its neighbours.
    #[schemars(range(max = 9_007_199_254_740_991_u64))]
    pub around: Option<u64>,
    /// A page's `nextCursor`.
    pub cursor: Option<String>,
    #[schemars(range(min = 1, max = 200))]
    pub limit: Option<u32>,
}

/// Which page of the caller's stream.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StreamGet {
    /// A message's `cursor` or a page's `nextCursor`; from the beginning when left out.
    pub cursor: Option<String>,
    #[schemars(range(min = 1, max = 200))]
    pub limit: Option<u32>,
}

/// How far the client has applied its stream.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StreamAck {
    /// The `cursor` of the last message applied.
    pub cursor: String,
}

/// Which events of the log.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditEventsGet {
    pub from: Option<String>,
    pub to: Option<String>,
    #[serde(rename = "type")]
    pub event_type: Option<String>,
    pub conversation: Option<ConversationId>,
    pub actor: Option<UserId>,
    pub cursor: Option<String>,
    pub limit: Option<u32>,
}

/// A conversation as it stood.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditConversationGet {
    pub conversation_id: ConversationId,
    pub as_of: Option<String>,
    pub cursor: Option<String>,
    pub limit: Option<u32>,
}

/// Which message's proof.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditProofGet {
    pub message_id: MessageId,
}

/// Between which checkpoints, by their sizes.
#[derive(Debug, Deserialize)]
pub struct AuditConsistencyGet {
    pub from: Option<u64>,
    pub to: Option<u64>,
}

/// Which checkpoints.
#[derive(Debug, Deserialize)]
pub struct AuditCheckpointsGet {
    pub cursor: Option<String>,
    pub limit: Option<u32>,
}

/// Which figures.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AnalyticsGet {
    pub from: Option<String>,
    pub to: Option<String>,
    pub by: Option<String>,
    pub cursor: Option<String>,
    pub limit: Option<u32>,
}

fn limit(value: Option<u32>) -> Result<(), Failure> {
    match value {
        Some(limit) if !(1..=MAX_PAGE).contains(&limit) => {
            Err(refused("limit", &format!("must be from 1 to {MAX_PAGE}")))
        }
        _ => Ok(()),
    }
}

impl NotificationGet {
    pub(super) fn check(&self) -> Result<(), Failure> {
        limit(self.limit)
    }
}

impl NotificationRead {
    /// The ids, or `None` for all.
    pub(super) fn check(self) -> Result<Option<Vec<NotificationId>>, Failure> {
        match (self.ids, self.all) {
            (Some(ids), None) if (1..=MAX_NOTIFICATION_IDS).contains(&ids.len()) => Ok(Some(ids)),
            (Some(_), None) => {
                Err(refused("ids", &format!("must hold 1 to {MAX_NOTIFICATION_IDS} entries")))
            }
            (None, Some(true)) => Ok(None),
            (None, Some(false)) => Err(refused("all", "must be true where it is given")),
            (None, None) => Err(refused("ids", "is missing, and all is too")),
            (Some(_), Some(_)) => Err(refused("ids", "must not be given together with all")),
        }
    }
}

impl ConversationGet {
    pub(super) fn check(&self) -> Result<(), Failure> {
        limit(self.limit)
    }
}

impl ConversationCreate {
    pub(super) fn check(&self) -> Result<(), Failure> {
        // How many there are besides the creator, and each but once, is the domain's to say.
        if self.member_ids.len() > MAX_GROUP_MEMBERS + 1 {
            return Err(conversation::Error::TooManyMembers.into());
        }
        match &self.title {
            Some(title) => line("title", title, MAX_TITLE_CHARACTERS),
            None => Ok(()),
        }
    }
}

impl ConversationRead {
    pub(super) fn check(&self) -> Result<(), Failure> {
        number("sequence", self.sequence)
    }
}

impl MessageSend {
    pub(super) fn check(&self, limits: &Limits) -> Result<(), Failure> {
        check_content(&self.content, limits)?;
        if self.client_message_id.as_ref().is_some_and(|id| id.as_str().contains('\0')) {
            return Err(refused("clientMessageId", "must not hold NUL"));
        }
        let attachments = self.attachments.as_deref().unwrap_or_default();
        check_attachments(attachments, limits)
    }
}

impl From<Attachment> for conversation::Attachment {
    fn from(attachment: Attachment) -> Self {
        let Attachment { name, url, mime_type, size } = attachment;
        Self { name, url, mime_type, size }
    }
}

impl MessageGet {
    pub(super) fn check(&self) -> Result<(), Failure> {
        number("before", self.before)?;
        number("after", self.after)?;
        number("around", self.around)?;
        limit(self.limit)
    }
}

impl StreamGet {
    pub(super) fn check(&self) -> Result<(), Failure> {
        limit(self.limit)
    }
}

impl AuditEventsGet {
    pub(super) fn check(&self) -> Result<(), Failure> {
        limit(self.limit)
    }
}

impl AuditCheckpointsGet {
    pub(super) fn check(&self) -> Result<(), Failure> {
        limit(self.limit)
    }
}

impl AuditConversationGet {
    pub(super) fn check(&self) -> Result<(), Failure> {
        limit(self.limit)
    }
}

impl AnalyticsGet {
    pub(super) fn check(&self) -> Result<(), Failure> {
        limit(self.limit)
    }
}

#[cfg(test)]
mod tests;
