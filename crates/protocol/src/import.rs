//! What `verbatim import` reads: a line of JSON for each conversation and each message.
//!
//! The names are those of the wire contract's shapes. Fields that aren't here are refused, so that
//! nothing is left behind by a slip.

use schemars::JsonSchema;
use serde::Deserialize;
use verbatim_domain::conversation::{Attachment, ConversationKind};
use verbatim_domain::{ConversationId, Time, UserId};

/// A line.
#[derive(Debug, JsonSchema)]
#[schemars(untagged, rename = "Import")]
pub enum Line {
    Conversation(ConversationLine),
    Message(MessageLine),
}

/// The one word that says that a line is a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OfConversation {
    Conversation,
}

/// The one word that says that a line is a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OfMessage {
    Message,
}

/// A conversation. Its line comes before those of its messages.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConversationLine {
    #[serde(rename = "type")]
    pub line_type: OfConversation,
    pub conversation_id: ConversationId,
    pub conversation_type: ConversationKind,
    /// All who wrote or may read and write: two of a direct conversation, 2 to 1,001 of a group.
    #[schemars(length(min = 2, max = 1_001))]
    pub member_ids: Vec<UserId>,
    /// One of the members.
    pub created_by: UserId,
    /// Of a group. Without control characters.
    #[serde(default)]
    #[schemars(length(min = 1, max = 200), regex(pattern = r"^[^\u0000-\u001f\u007f-\u009f]+$"))]
    pub title: Option<String>,
    /// Without it, the conversation begins when it is brought in.
    #[serde(default)]
    pub created_at: Option<Time>,
}

/// A message. Those of a conversation come in their order.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MessageLine {
    #[serde(rename = "type")]
    pub line_type: OfMessage,
    /// Any text, unique among all messages that are brought in. A UUID stays the message's `_id`, but
    /// for one of version 7, which Verbatim gives itself; of any other one is made, always the same,
    /// and the text is its `clientMessageId`.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[^\u0000-\u001f\u007f-\u009f]+$"))]
    pub id: String,
    pub conversation_id: ConversationId,
    /// One of the conversation's members.
    pub sender_id: UserId,
    /// `user` where it is left out; `agent` and `system` show as such.
    #[serde(default)]
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[^\u0000-\u001f\u007f-\u009f]+$"))]
    pub role: Option<String>,
    /// The sender's.
    #[serde(default)]
    #[schemars(length(min = 1, max = 320), regex(pattern = r"^[^\u0000-\u001f\u007f-\u009f]+$"))]
    pub email: Option<String>,
    /// Up to 32,768 bytes of text (a setting), without NUL.
    #[schemars(length(min = 1, max = 32_768), regex(pattern = r"^[^\u0000]+$"))]
    pub content: String,
    #[serde(default)]
    #[schemars(length(max = 10))]
    pub attachments: Option<Vec<Attachment>>,
    /// When it was said: from 1970 on, and not in the future.
    pub created_at: Time,
}
