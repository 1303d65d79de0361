//! A conversation: who belongs to it, who may speak, how far each has read.

mod command;
mod event;
mod import;

use std::collections::BTreeMap;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

pub use command::{Author, ConversationCommand, CreateGroup, MarkRead, SendMessage};
pub use event::{
    Attachment, ConversationEvent, ConversationKind, ConversationRead, ConversationStarted,
    ImportedMessage, ImportedStart, MemberJoined, MessageSent, PersonalMessage, PersonalTitle,
};
pub use import::{ImportConversation, ImportError, ImportMessage};

use crate::UserId;

/// The most members a group has besides its creator (wire contract, section 5).
pub const MAX_GROUP_MEMBERS: usize = 1_000;

/// A rule of a conversation that a command would break.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("Conversation not found")]
    NotFound,
    #[error("You are not a member of this conversation")]
    NotAMember,
    #[error("The target user is not a member of this conversation")]
    TargetNotAMember,
    #[error("A direct conversation needs someone other than yourself")]
    TargetIsSender,
    #[error("A group needs a member other than its creator")]
    NoMembers,
    #[error("A group has at most {MAX_GROUP_MEMBERS} members besides its creator")]
    TooManyMembers,
    #[error("Another conversation has this id")]
    AlreadyExists,
    #[error("The conversation has no message with this sequence yet")]
    NotYetSent,
}

/// What a decision about a conversation needs to know: members and counters, never messages.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Conversation {
    started: Option<ConversationStarted>,
    /// Each member's read mark: the highest message `sequence` that they have read.
    members: BTreeMap<UserId, u64>,
    /// The `sequence` of the newest message.
    messages: u64,
    /// That of the newest one which was said elsewhere: all up to it were.
    #[serde(default)]
    history: u64,
    /// Up to here every member has read, because it is history.
    #[serde(default)]
    read_history: u64,
}

impl Conversation {
    /// The events that a command brings about, or the rule that it breaks. No events: what it asks
    /// for is so already.
    ///
    /// # Errors
    /// The broken rule.
    pub fn decide(&self, command: &ConversationCommand) -> Result<Vec<ConversationEvent>, Error> {
        match command {
            ConversationCommand::CreateGroup(create) => self.create_group(create),
            ConversationCommand::SendMessage(send) => self.send(send),
            ConversationCommand::MarkRead(read) => self.mark_read(read),
        }
    }

    #[must_use]
    pub fn member_count(&self) -> usize {
        self.members.len()
    }

    fn create_group(&self, create: &CreateGroup) -> Result<Vec<ConversationEvent>, Error> {
        let mut members = create.members.clone();
        members.remove(&create.creator);
        if members.is_empty() {
            return Err(Error::NoMembers);
        }
        if members.len() > MAX_GROUP_MEMBERS {
            return Err(Error::TooManyMembers);
        }
        let started = ConversationStarted {
            kind: ConversationKind::Group,
            created_by: create.creator.clone(),
            personal: PersonalTitle { title: create.title.clone() },
            imported: None,
        };
        if let Some(existing) = &self.started {
            members.insert(create.creator.clone());
            let alike = *existing == started && self.members.keys().eq(members.iter());
            return if alike { Ok(Vec::new()) } else { Err(Error::AlreadyExists) };
        }
        Ok(start(started, members))
    }

    fn send(&self, send: &SendMessage) -> Result<Vec<ConversationEvent>, Error> {
        let sender = &send.author.user_id;
        let mut events = match (&self.started, &send.target) {
            (Some(_), target) => {
                if !self.members.contains_key(sender) {
                    return Err(Error::NotAMember);
                }
                if target.as_ref().is_some_and(|target| !self.members.contains_key(target)) {
                    return Err(Error::TargetNotAMember);
                }
                Vec::with_capacity(1)
            }
            (None, None) => return Err(Error::NotFound),
            (None, Some(target)) if target == sender => return Err(Error::TargetIsSender),
            (None, Some(target)) => start(
                ConversationStarted {
                    kind: ConversationKind::Direct,
                    created_by: sender.clone(),
                    personal: PersonalTitle { title: None },
                    imported: None,
                },
                [target.clone()],
            ),
        };
        events.push(ConversationEvent::MessageSent(MessageSent {
            message_id: send.message_id,
            sequence: self.messages + 1,
            sender_id: sender.clone(),
            sender_role: send.author.role.clone(),
            client_message_id: send.client_message_id.clone(),
            personal: send.personal.clone(),
            imported: None,
        }));
        Ok(events)
    }

    fn mark_read(&self, read: &MarkRead) -> Result<Vec<ConversationEvent>, Error> {
        if self.started.is_none() {
            return Err(Error::NotFound);
        }
        let Some(&mark) = self.members.get(&read.reader) else {
            return Err(Error::NotAMember);
        };
        let through = read.through.unwrap_or(self.messages);
        if through > self.messages {
            return Err(Error::NotYetSent);
        }
        if through <= mark.max(self.read_history) {
            return Ok(Vec::new());
        }
        let event = ConversationRead { reader_id: read.reader.clone(), through };
        Ok(vec![ConversationEvent::ConversationRead(event)])
    }
}

fn start(
    started: ConversationStarted,
    others: impl IntoIterator<Item = UserId>,
) -> Vec<ConversationEvent> {
    let creator = started.created_by.clone();
    let others = others.into_iter().filter(|member| *member != creator);
    let members: Vec<_> = std::iter::once(creator.clone()).chain(others).collect();
    let joined = members
        .into_iter()
        .map(|member_id| ConversationEvent::MemberJoined(MemberJoined { member_id }));
    std::iter::once(ConversationEvent::ConversationStarted(started)).chain(joined).collect()
}

impl Aggregate for Conversation {
    const TYPE: &'static str = "conversation";
    type Command = ConversationCommand;
    type Event = ConversationEvent;
    type Error = Error;
    type Services = ();

    async fn handle(
        &mut self,
        command: ConversationCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), Error> {
        for event in self.decide(&command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: ConversationEvent) {
        match event {
            ConversationEvent::ConversationStarted(started) => self.started = Some(started),
            ConversationEvent::MemberJoined(joined) => {
                self.members.entry(joined.member_id).or_default();
            }
            ConversationEvent::MessageSent(sent) => {
                self.messages = sent.sequence;
                if let Some(imported) = sent.imported {
                    self.history = sent.sequence;
                    if !imported.unread {
                        self.read_history = sent.sequence;
                    }
                }
            }
            ConversationEvent::ConversationRead(read) => {
                self.members.insert(read.reader_id, read.through);
            }
        }
    }
}

#[cfg(test)]
mod tests;
