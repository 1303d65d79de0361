//! What another system had, brought in as it was.

use std::collections::BTreeSet;

use super::event::{
    ConversationEvent, ConversationKind, ConversationStarted, ImportedMessage, ImportedStart,
    MessageSent, PersonalTitle,
};
use super::{Conversation, MAX_GROUP_MEMBERS, start};
use crate::{ClientMessageId, MessageId, Personal, Time, UserId};

/// Why something can't be brought in, for whoever brings it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    #[error("createdBy is none of memberIds")]
    CreatorNotAMember,
    #[error("memberIds must hold two or more users")]
    NoMembers,
    #[error("memberIds must hold two users: the conversation is direct")]
    NotBetweenTwo,
    #[error("memberIds must not hold more than {} users", MAX_GROUP_MEMBERS + 1)]
    TooManyMembers,
    #[error("another conversation has this id here")]
    AlreadyExists,
    #[error("there is no such conversation: its line must come before those of its messages")]
    NotFound,
    #[error("the sender is no member of the conversation")]
    NotAMember,
    #[error("something was said in the conversation here: history can't be put before it")]
    GoesOn,
}

/// A conversation that another system had.
#[derive(Debug, Clone, PartialEq)]
pub struct ImportConversation {
    pub kind: ConversationKind,
    /// One of the members.
    pub created_by: UserId,
    pub members: BTreeSet<UserId>,
    pub personal: PersonalTitle,
    pub created_at: Option<Time>,
    /// Whether its messages count as unread.
    pub unread: bool,
}

/// A message of it.
#[derive(Debug, Clone, PartialEq)]
pub struct ImportMessage {
    pub message_id: MessageId,
    pub sender_id: UserId,
    pub sender_role: String,
    pub client_message_id: Option<ClientMessageId>,
    pub personal: Personal,
    pub sent_at: Time,
}

impl ImportConversation {
    /// # Errors
    /// The rule that it breaks by itself.
    pub fn check(&self) -> Result<(), ImportError> {
        if !self.members.contains(&self.created_by) {
            return Err(ImportError::CreatorNotAMember);
        }
        match (self.kind, self.members.len()) {
            (_, 0 | 1) => Err(ImportError::NoMembers),
            (ConversationKind::Direct, 3..) => Err(ImportError::NotBetweenTwo),
            (ConversationKind::Group, members) if members > MAX_GROUP_MEMBERS + 1 => {
                Err(ImportError::TooManyMembers)
            }
            _ => Ok(()),
        }
    }
}

impl Conversation {
    /// Begins a conversation that another system had. No events: it was brought in before.
    ///
    /// # Errors
    /// The broken rule.
    pub fn import(
        &self,
        import: &ImportConversation,
    ) -> Result<Vec<ConversationEvent>, ImportError> {
        import.check()?;
        let ImportConversation { kind, created_by, personal, created_at, unread, .. } =
            import.clone();
        if let Some(existing) = &self.started {
            // Whether history is unread was decided when it was brought in first.
            let imported = existing
                .imported
                .as_ref()
                .map(|imported| ImportedStart { created_at, unread: imported.unread });
            let wanted = ConversationStarted { kind, created_by, personal, imported };
            let alike = existing.imported.is_some()
                && *existing == wanted
                && self.members.keys().eq(import.members.iter());
            return if alike { Ok(Vec::new()) } else { Err(ImportError::AlreadyExists) };
        }
        let imported = Some(ImportedStart { created_at, unread });
        let started = ConversationStarted { kind, created_by, personal, imported };
        Ok(start(started, import.members.iter().cloned()))
    }

    /// Adds a message that was said elsewhere, in the order in which they come. What was said here
    /// follows on all of them.
    ///
    /// # Errors
    /// The broken rule.
    pub fn import_message(&self, import: &ImportMessage) -> Result<ConversationEvent, ImportError> {
        let Some(started) = &self.started else { return Err(ImportError::NotFound) };
        let Some(imported) = started.imported.as_ref().filter(|_| self.is_history()) else {
            return Err(ImportError::GoesOn);
        };
        let ImportMessage {
            message_id,
            sender_id,
            sender_role,
            client_message_id,
            personal,
            sent_at,
        } = import.clone();
        if !self.members.contains_key(&sender_id) {
            return Err(ImportError::NotAMember);
        }
        Ok(ConversationEvent::MessageSent(MessageSent {
            message_id,
            sequence: self.messages + 1,
            sender_id,
            sender_role,
            client_message_id,
            personal,
            imported: Some(ImportedMessage { sent_at, unread: imported.unread }),
        }))
    }

    /// Whether nothing was said here yet.
    fn is_history(&self) -> bool {
        self.messages == self.history
    }
}

#[cfg(test)]
mod tests;
