//! From a line to what is to be brought in.

use sha2::{Digest, Sha256};
use uuid::{Builder, Uuid};
use verbatim_domain::conversation::{
    Attachment, ImportConversation, ImportMessage, PersonalMessage, PersonalTitle,
};
use verbatim_domain::{ClientMessageId, ConversationId, MessageId, Time};
use verbatim_gateway::requests::payload::{
    MAX_TITLE_CHARACTERS, check_attachments, check_content, line, parse,
};
use verbatim_gateway::settings::Limits;
use verbatim_protocol::import::{ConversationLine, MessageLine};
use verbatim_protocol::{CommandKey, Failure};

const MAX_ID_CHARACTERS: usize = 128;
const MAX_ROLE_CHARACTERS: usize = 128;
const MAX_EMAIL_CHARACTERS: usize = 320;

/// Bytes of a line besides its text, which may be escaped to six times its length.
const ENVELOPE_BYTES: usize = 1 << 20;

/// What a line may hold.
pub struct Rules {
    pub limits: Limits,
    /// No message is later.
    pub latest: Time,
    /// Whether history counts as unread.
    pub unread: bool,
}

/// A conversation or a message that is to be brought in.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    Conversation(ConversationId, ImportConversation),
    Message(ConversationId, ImportMessage),
}

/// Which type of line it is, and nothing else of it.
#[derive(serde::Deserialize)]
struct Typed {
    #[serde(rename = "type")]
    line_type: String,
}

impl Rules {
    pub fn longest_line(&self) -> usize {
        self.limits.content_bytes.saturating_mul(6).saturating_add(ENVELOPE_BYTES)
    }

    /// Reads a line.
    ///
    /// # Errors
    /// What is wrong with it, without what somebody wrote.
    pub fn read(&self, text: &str) -> Result<Entry, String> {
        self.entry(text).map_err(|failure| failure.message)
    }

    fn entry(&self, text: &str) -> Result<Entry, Failure> {
        match &*parse::<Typed>(Some(text))?.line_type {
            "conversation" => self.conversation(parse(Some(text))?),
            "message" => self.message(parse(Some(text))?),
            _ => Err(Failure::bad_request("type must be `conversation` or `message`")),
        }
    }

    fn conversation(&self, read: ConversationLine) -> Result<Entry, Failure> {
        if let Some(title) = &read.title {
            line("title", title, MAX_TITLE_CHARACTERS)?;
        }
        if let Some(created_at) = read.created_at {
            self.time(created_at)?;
        }
        let import = ImportConversation {
            kind: read.conversation_type,
            created_by: read.created_by,
            members: read.member_ids.into_iter().collect(),
            personal: title(read.title),
            created_at: read.created_at,
            unread: self.unread,
        };
        import.check().map_err(|broken| Failure::bad_request(broken.to_string()))?;
        Ok(Entry::Conversation(read.conversation_id, import))
    }

    fn message(&self, read: MessageLine) -> Result<Entry, Failure> {
        line("id", &read.id, MAX_ID_CHARACTERS)?;
        let role = read.role.unwrap_or_else(|| "user".to_owned());
        line("role", &role, MAX_ROLE_CHARACTERS)?;
        if let Some(email) = &read.email {
            line("email", email, MAX_EMAIL_CHARACTERS)?;
        }
        check_content(&read.content, &self.limits)?;
        let attachments = read.attachments.unwrap_or_default();
        check_attachments(&attachments, &self.limits)?;
        self.time(read.created_at)?;
        let (message_id, client_message_id) = identify(&read.id);
        let import = ImportMessage {
            message_id,
            sender_id: read.sender_id,
            sender_role: role,
            client_message_id,
            personal: written(read.content, attachments, read.email).into(),
            sent_at: read.created_at,
        };
        Ok(Entry::Message(read.conversation_id, import))
    }

    fn time(&self, time: Time) -> Result<(), Failure> {
        if (Time(0)..=self.latest).contains(&time) {
            return Ok(());
        }
        Err(Failure::bad_request("createdAt must be from 1970 on, and not in the future"))
    }
}

/// The personal part of a message; it is sealed when it is written.
fn written(
    content: String,
    attachments: Vec<Attachment>,
    email: Option<String>,
) -> PersonalMessage {
    PersonalMessage { content, attachments, email }
}

/// The personal part of a conversation, as it is stored.
fn title(title: Option<String>) -> PersonalTitle {
    PersonalTitle { title }
}

/// A message's id here, and the text that it was made of. What is sent here gets a UUID of version 7,
/// so none of another system's may have one.
fn identify(id: &str) -> (MessageId, Option<ClientMessageId>) {
    const OURS: usize = 7;
    let is_canonical = |uuid: &Uuid| uuid.to_string().eq_ignore_ascii_case(id);
    if let Some(uuid) = Uuid::try_parse(id).ok().filter(is_canonical)
        && uuid.get_version_num() != OURS
    {
        return (MessageId(uuid), None);
    }
    let hash = Sha256::digest([b"verbatim import\0", id.as_bytes()].concat());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    let made = Builder::from_custom_bytes(bytes).into_uuid();
    (MessageId(made), id.parse().ok())
}

impl Entry {
    pub fn conversation_id(&self) -> &ConversationId {
        match self {
            Self::Conversation(id, _) | Self::Message(id, _) => id,
        }
    }

    /// What makes it once for ever.
    pub fn key(&self) -> CommandKey {
        let key = match self {
            Self::Conversation(id, _) => format!("conversation/{id}"),
            Self::Message(_, import) => import.message_id.to_string(),
        };
        CommandKey { issuer: "$import".into(), key: key.into() }
    }
}

#[cfg(test)]
mod tests;
