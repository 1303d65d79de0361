//! What happened in a conversation.
//!
//! What a person wrote or is known by sits in one field, `personal`, of its event, so that it is
//! sealed as a whole without touching the rest.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ClientMessageId, MessageId, Personal, Time, UserId};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ConversationEvent {
    ConversationStarted(ConversationStarted),
    MemberJoined(MemberJoined),
    MessageSent(MessageSent),
    ConversationRead(ConversationRead),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ConversationKind {
    /// Between two, started by the first message.
    Direct,
    /// Created with its members.
    Group,
}

impl ConversationKind {
    /// The name used on the wire and in the views.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Group => "group",
        }
    }
}

/// A conversation began; its members follow as [`MemberJoined`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConversationStarted {
    pub kind: ConversationKind,
    pub created_by: UserId,
    #[serde(default, skip_serializing_if = "PersonalTitle::is_empty")]
    pub personal: PersonalTitle,
    /// What another system had was brought in; since version 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported: Option<ImportedStart>,
}

impl ConversationStarted {
    /// The first version says all but of an import.
    pub(crate) fn version(&self) -> &'static str {
        if self.imported.is_some() { "2" } else { "1" }
    }
}

/// How a conversation began elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImportedStart {
    /// When, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Time>,
    /// Whether what was said there counts as unread.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unread: bool,
}

/// The personal part of [`ConversationStarted`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PersonalTitle {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}

impl PersonalTitle {
    fn is_empty(&self) -> bool {
        self.title.is_none()
    }
}

/// A user became a member: what is said from here on is in their stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MemberJoined {
    pub member_id: UserId,
}

/// A member said something.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MessageSent {
    pub message_id: MessageId,
    /// 1, 2, 3 … within the conversation.
    pub sequence: u64,
    pub sender_id: UserId,
    pub sender_role: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_message_id: Option<ClientMessageId>,
    pub personal: Personal,
    /// It was said elsewhere, and brought in; since version 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported: Option<ImportedMessage>,
}

impl MessageSent {
    /// What is said as it is, and here, needs no more than the first version.
    pub(crate) fn version(&self) -> &'static str {
        match (&self.personal, &self.imported) {
            (Personal::Plain(_), None) => "1",
            _ => "2",
        }
    }
}

/// What is known of a message that was said elsewhere. It is history: never pushed, and nobody is
/// notified of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImportedMessage {
    pub sent_at: Time,
    /// Else every member has read it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unread: bool,
}

/// The personal part of [`MessageSent`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PersonalMessage {
    pub content: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
}

impl PersonalMessage {
    /// Text alone.
    #[must_use]
    pub fn text(content: &str) -> Self {
        Self { content: content.to_owned(), attachments: Vec::new(), email: None }
    }

    /// Whether the same is said, whatever address the author has.
    #[must_use]
    pub fn says_as(&self, other: &Self) -> bool {
        (&self.content, &self.attachments) == (&other.content, &other.attachments)
    }
}

/// A file that lies elsewhere, named in a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Attachment {
    pub name: String,
    /// `http` or `https`.
    pub url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// In bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

/// A member's read mark moved forward to `through`, a message's `sequence`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConversationRead {
    pub reader_id: UserId,
    pub through: u64,
}
