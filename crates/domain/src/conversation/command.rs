//! What may be asked of a conversation.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ClientMessageId, MessageId, Personal, UserId};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum ConversationCommand {
    CreateGroup(CreateGroup),
    SendMessage(SendMessage),
    MarkRead(MarkRead),
}

/// Who speaks, as their token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Author {
    pub user_id: UserId,
    pub role: String,
}

/// Makes a group of its creator and `members`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateGroup {
    pub creator: UserId,
    pub members: BTreeSet<UserId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}

/// Says something; in an unknown conversation with a `target`, starts a direct one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SendMessage {
    pub message_id: MessageId,
    pub author: Author,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<UserId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_message_id: Option<ClientMessageId>,
    /// What is said, and the author's e-mail address.
    pub personal: Personal,
}

/// Moves a member's read mark forward.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MarkRead {
    pub reader: UserId,
    /// A message's `sequence`; the newest message's when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub through: Option<u64>,
}
