//! What a batch of events changes, grouped by kind: adapters store each kind with a statement or two.
//!
//! Changes are grouped by kind. That keeps their meaning, because what one kind reads of another
//! only grows (conversations, members, messages, notifications), and because a read mark or the
//! reading of notifications names by sequence or position what it covers.

use std::collections::HashMap;
use std::sync::Arc;

use verbatim_domain::conversation::MessageSent;
use verbatim_domain::inbox::{DeliveryOutcome, NotificationCreated, ReadScope};
use verbatim_domain::{Personal, Sealed};
use verbatim_protocol::{Recorded, Timestamp};

use crate::Error;
use crate::project::{Change, project};

/// The changes of some events, by kind, each in the order of the events.
#[derive(Default)]
pub(crate) struct Batch<'a> {
    pub(crate) conversations: Vec<Conversation<'a>>,
    pub(crate) members: Vec<Member<'a>>,
    pub(crate) messages: Vec<Message<'a>>,
    pub(crate) news: HashMap<&'a str, News>,
    pub(crate) own_messages: HashMap<(&'a str, &'a str), i64>,
    pub(crate) read_marks: HashMap<(&'a str, &'a str), u64>,
    pub(crate) notifications: Vec<Notification<'a>>,
    pub(crate) notifications_read: Vec<NotificationsRead<'a>>,
    pub(crate) deliveries: Vec<Delivery<'a>>,
    pub(crate) refreshes: Vec<Refresh<'a>>,
}

pub(crate) struct Conversation<'a> {
    pub(crate) position: u64,
    pub(crate) id: &'a str,
    pub(crate) kind: &'static str,
    pub(crate) title: Option<&'a str>,
    pub(crate) created_by: &'a str,
    pub(crate) at: Timestamp,
}

pub(crate) struct Member<'a> {
    pub(crate) position: u64,
    pub(crate) conversation_id: &'a str,
    pub(crate) user_id: &'a str,
}

pub(crate) struct Message<'a> {
    pub(crate) position: u64,
    pub(crate) conversation_id: &'a str,
    pub(crate) sent: &'a MessageSent,
    pub(crate) said: Said<'a>,
    pub(crate) at: Timestamp,
}

/// What was said: as it is, or sealed, with nothing beside it.
#[derive(Default)]
pub(crate) struct Said<'a> {
    pub(crate) content: &'a str,
    /// A JSON array.
    pub(crate) attachments: Option<String>,
    pub(crate) email: Option<&'a str>,
    /// The key's 16 bytes, and what is sealed with it.
    pub(crate) sealed: Option<Vec<u8>>,
}

impl<'a> Said<'a> {
    fn of(personal: &'a Personal) -> Result<Self, Error> {
        Ok(match personal {
            Personal::Sealed(Sealed { key, sealed }) => {
                Self { sealed: Some([key.0.as_bytes(), &*sealed.0].concat()), ..Self::default() }
            }
            Personal::Plain(said) => {
                let attachments = match said.attachments.as_slice() {
                    [] => None,
                    some => Some(
                        serde_json::to_string(some)
                            .map_err(|error| Error::Corrupt(format!("attachments: {error}")))?,
                    ),
                };
                Self {
                    content: &said.content,
                    attachments,
                    email: said.email.as_deref(),
                    sealed: None,
                }
            }
        })
    }
}

/// What the batch's messages change of their conversation.
pub(crate) struct News {
    pub(crate) first_sequence: u64,
    pub(crate) last_sequence: u64,
    pub(crate) last_position: u64,
    pub(crate) at: Timestamp,
    /// The last of those that were said elsewhere, 0 without any.
    pub(crate) history_position: u64,
    /// The same, if all have read it.
    pub(crate) read_history: u64,
}

pub(crate) struct Notification<'a> {
    pub(crate) position: u64,
    pub(crate) user_id: &'a str,
    pub(crate) created: &'a NotificationCreated,
    pub(crate) at: Timestamp,
}

pub(crate) struct NotificationsRead<'a> {
    pub(crate) position: u64,
    pub(crate) user_id: &'a str,
    pub(crate) scope: &'a ReadScope,
    pub(crate) at: Timestamp,
}

pub(crate) struct Delivery<'a> {
    pub(crate) user_id: &'a str,
    pub(crate) through: u64,
    pub(crate) outcome: &'static str,
    pub(crate) at: Timestamp,
}

pub(crate) struct Refresh<'a> {
    pub(crate) position: u64,
    pub(crate) list: &'static str,
    pub(crate) user_id: &'a str,
}

impl<'a> Batch<'a> {
    /// # Errors
    /// [`Error::Corrupt`] where a conversation's messages are not numbered densely.
    pub fn of(events: impl IntoIterator<Item = &'a Recorded>) -> Result<Self, Error> {
        let mut batch = Self::default();
        for change in events.into_iter().filter_map(project) {
            batch.add(change)?;
        }
        Ok(batch)
    }

    fn add(&mut self, change: Change<'a>) -> Result<(), Error> {
        match change {
            Change::ConversationAdded {
                position,
                conversation_id,
                kind,
                title,
                created_by,
                at,
            } => {
                self.conversations.push(Conversation {
                    position,
                    id: conversation_id,
                    kind: kind.as_str(),
                    title,
                    created_by: created_by.as_str(),
                    at,
                });
            }
            Change::MemberAdded { position, conversation_id, user_id } => {
                let user_id = user_id.as_str();
                self.members.push(Member { position, conversation_id, user_id });
            }
            Change::MessageAdded { position, conversation_id, sent, at } => {
                self.add_message(position, conversation_id, sent, at)?;
            }
            Change::ReadMarkMoved { position, conversation_id, reader_id, through } => {
                let user_id = reader_id.as_str();
                self.read_marks.insert((conversation_id, user_id), through);
                self.refreshes.push(Refresh { position, list: "conversations", user_id });
            }
            Change::NotificationAdded { position, user_id, created, at } => {
                self.notifications.push(Notification { position, user_id, created, at });
            }
            Change::NotificationsRead { position, user_id, scope, at } => {
                self.notifications_read.push(NotificationsRead { position, user_id, scope, at });
                self.refreshes.push(Refresh { position, list: "notifications", user_id });
            }
            Change::SubjectErased { position, user_id } => {
                let user_id = user_id.as_str();
                self.refreshes.push(Refresh { position, list: "erased", user_id });
            }
            Change::DeliveryAdvanced { user_id, through, outcome, at } => {
                let outcome = match outcome {
                    DeliveryOutcome::Acknowledged => "acknowledged",
                    DeliveryOutcome::Presumed => "presumed",
                };
                self.deliveries.push(Delivery { user_id, through, outcome, at });
            }
        }
        Ok(())
    }

    fn add_message(
        &mut self,
        position: u64,
        conversation_id: &'a str,
        sent: &'a MessageSent,
        at: Timestamp,
    ) -> Result<(), Error> {
        let news = self.news.entry(conversation_id).or_insert(News {
            first_sequence: sent.sequence,
            last_sequence: sent.sequence.saturating_sub(1),
            last_position: position,
            at,
            history_position: 0,
            read_history: 0,
        });
        if sent.sequence != news.last_sequence + 1 {
            return Err(Error::Corrupt(format!(
                "the message at position {position} is number {} of its conversation, after {}",
                sent.sequence, news.last_sequence
            )));
        }
        news.last_sequence = sent.sequence;
        news.last_position = position;
        news.at = at;
        let is_read = sent.imported.is_some_and(|imported| !imported.unread);
        if sent.imported.is_some() {
            news.history_position = position;
        }
        if is_read {
            news.read_history = sent.sequence;
        }
        // Who has read it all needs no count of their own.
        let own = self.own_messages.entry((conversation_id, sent.sender_id.as_str())).or_default();
        *own += i64::from(!is_read);
        let said = Said::of(&sent.personal)?;
        self.messages.push(Message { position, conversation_id, sent, said, at });
        Ok(())
    }
}

/// Those of `events` that are above the checkpoint.
pub(crate) fn following(
    checkpoint: u64,
    events: &[Arc<Recorded>],
) -> Result<&[Arc<Recorded>], Error> {
    let seen = events.iter().take_while(|event| event.position <= checkpoint).count();
    let events = &events[seen..];
    for (expected, event) in (checkpoint + 1..).zip(events) {
        if event.position != expected {
            return Err(Error::Corrupt(format!(
                "position {} where {expected} was to follow",
                event.position
            )));
        }
    }
    Ok(events)
}
