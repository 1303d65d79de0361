//! Stores what a batch of events changes: a few statements for the whole batch.
//!
//! Changes are grouped by kind. That keeps their meaning, because what one kind reads of another
//! only grows (conversations, members, messages, notifications), and because a read mark or the
//! reading of notifications names by sequence or position what it covers.

use std::collections::HashMap;

use sqlx::SqliteConnection;
use verbatim_domain::conversation::MessageSent;
use verbatim_domain::inbox::{DeliveryOutcome, NotificationCreated, ReadScope};
use verbatim_protocol::{Recorded, Timestamp};

use super::bulk::{Bulk, Query};
use super::rows::failed;
use crate::Error;
use crate::project::{Change, project};

macro_rules! bulk {
    ($name:ident, $file:literal, $columns:literal) => {
        static $name: Bulk = Bulk::new(include_str!(concat!("statements/", $file)), $columns);
    };
}

bulk!(INSERT_CONVERSATIONS, "insert_conversations.sql", 8);
bulk!(INSERT_MEMBERS, "insert_members.sql", 3);
bulk!(INSERT_GROUP_REFRESHES, "insert_group_refreshes.sql", 3);
bulk!(INSERT_REFRESHES, "insert_refreshes.sql", 3);
bulk!(INSERT_MESSAGES, "insert_messages.sql", 11);
bulk!(TOUCH_CONVERSATIONS, "touch_conversations.sql", 5);
bulk!(COUNT_OWN_MESSAGES, "count_own_messages.sql", 3);
bulk!(MOVE_READ_MARKS, "move_read_marks.sql", 3);
bulk!(INSERT_NOTIFICATIONS, "insert_notifications.sql", 6);
bulk!(INSERT_DELIVERIES, "insert_deliveries.sql", 4);

const MARK_NOTIFICATIONS_READ: &str = include_str!("statements/mark_notifications_read.sql");
const MARK_ALL_NOTIFICATIONS_READ: &str =
    include_str!("statements/mark_all_notifications_read.sql");

/// The changes of some events, by kind, each in the order of the events.
#[derive(Default)]
pub(super) struct Batch<'a> {
    conversations: Vec<Conversation<'a>>,
    members: Vec<Member<'a>>,
    messages: Vec<Message<'a>>,
    news: HashMap<&'a str, News>,
    own_messages: HashMap<(&'a str, &'a str), i64>,
    read_marks: HashMap<(&'a str, &'a str), u64>,
    notifications: Vec<Notification<'a>>,
    notifications_read: Vec<NotificationsRead<'a>>,
    deliveries: Vec<Delivery<'a>>,
    refreshes: Vec<Refresh<'a>>,
}

struct Conversation<'a> {
    position: u64,
    id: &'a str,
    kind: &'static str,
    title: Option<&'a str>,
    created_by: &'a str,
    at: Timestamp,
}

struct Member<'a> {
    position: u64,
    conversation_id: &'a str,
    user_id: &'a str,
}

struct Message<'a> {
    position: u64,
    conversation_id: &'a str,
    sent: &'a MessageSent,
    attachments: Option<String>,
    at: Timestamp,
}

/// What the batch's messages change of their conversation.
struct News {
    first_sequence: u64,
    last_sequence: u64,
    last_position: u64,
    at: Timestamp,
}

struct Notification<'a> {
    position: u64,
    user_id: &'a str,
    created: &'a NotificationCreated,
    at: Timestamp,
}

struct NotificationsRead<'a> {
    position: u64,
    user_id: &'a str,
    scope: &'a ReadScope,
    at: Timestamp,
}

struct Delivery<'a> {
    user_id: &'a str,
    through: u64,
    outcome: &'static str,
    at: Timestamp,
}

struct Refresh<'a> {
    position: u64,
    list: &'static str,
    user_id: &'a str,
}

impl<'a> Batch<'a> {
    /// # Errors
    /// [`Error::Corrupt`] where a conversation's messages are not numbered densely.
    pub fn of(events: impl IntoIterator<Item = &'a Recorded>) -> Result<Self, Error> {
        let mut batch = Self::default();
        for event in events {
            batch.add(project(event))?;
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
        *self.own_messages.entry((conversation_id, sent.sender_id.as_str())).or_default() += 1;
        let attachments = match sent.personal.attachments.as_slice() {
            [] => None,
            some => Some(
                serde_json::to_string(some)
                    .map_err(|error| Error::Corrupt(format!("attachments: {error}")))?,
            ),
        };
        self.messages.push(Message { position, conversation_id, sent, attachments, at });
        Ok(())
    }

    /// Stores the changes of the events above `from` up to `through`, on a connection with an open
    /// transaction.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if a change refers to what isn't there, else [`Error::Unavailable`].
    pub async fn store(
        &self,
        connection: &mut SqliteConnection,
        from: u64,
        through: u64,
    ) -> Result<(), Error> {
        self.store_conversations(connection).await?;
        if !self.messages.is_empty() {
            self.store_messages(connection).await?;
            let indexed = sqlx::query(include_str!("statements/index_messages.sql"))
                .bind(from as i64)
                .bind(through as i64)
                .execute(&mut *connection)
                .await
                .map(|indexed| indexed.rows_affected());
            all("index entries", indexed, self.messages.len())?;
        }
        self.move_read_marks(connection).await?;
        self.store_inboxes(connection).await
    }

    async fn store_conversations(&self, connection: &mut SqliteConnection) -> Result<(), Error> {
        INSERT_CONVERSATIONS
            .run(connection, &self.conversations, |query, added| {
                query
                    .bind(added.position as i64)
                    .bind(added.id)
                    .bind(added.kind)
                    .bind(added.title)
                    .bind(added.created_by)
                    .bind(added.at.0)
                    .bind(added.position as i64)
                    .bind(added.at.0)
            })
            .await
            .map_err(failed)?;
        let stored = INSERT_MEMBERS.run(connection, &self.members, Member::bind).await;
        all("members", stored, self.members.len())?;
        INSERT_GROUP_REFRESHES
            .run(connection, &self.members, Member::bind)
            .await
            .map_err(failed)?;
        Ok(())
    }

    async fn store_messages(&self, connection: &mut SqliteConnection) -> Result<(), Error> {
        let stored = INSERT_MESSAGES
            .run(connection, &self.messages, |query, added| {
                let sent = added.sent;
                query
                    .bind(added.position as i64)
                    .bind(&sent.message_id.0.as_bytes()[..])
                    .bind(added.conversation_id)
                    .bind(sent.sequence as i64)
                    .bind(sent.sender_id.as_str())
                    .bind(&sent.sender_role)
                    .bind(added.at.0)
                    .bind(&sent.personal.content)
                    .bind(added.attachments.as_deref())
                    .bind(sent.personal.email.as_deref())
                    .bind(sent.client_message_id.as_ref().map(AsRef::as_ref))
            })
            .await;
        all("messages", stored, self.messages.len())?;

        let news: Vec<_> = self.news.iter().collect();
        let touched = TOUCH_CONVERSATIONS
            .run(connection, &news, |query, (conversation_id, news)| {
                query
                    .bind(**conversation_id)
                    .bind(news.first_sequence as i64)
                    .bind(news.last_sequence as i64)
                    .bind(news.last_position as i64)
                    .bind(news.at.0)
            })
            .await;
        all("conversations with new messages", touched, news.len())?;

        let own: Vec<_> = self.own_messages.iter().collect();
        let counted = COUNT_OWN_MESSAGES
            .run(connection, &own, |query, ((conversation_id, user_id), added)| {
                query.bind(*conversation_id).bind(*user_id).bind(**added)
            })
            .await;
        all("senders", counted, own.len())
    }

    async fn move_read_marks(&self, connection: &mut SqliteConnection) -> Result<(), Error> {
        let marks: Vec<_> = self.read_marks.iter().collect();
        let moved = MOVE_READ_MARKS
            .run(connection, &marks, |query, ((conversation_id, user_id), through)| {
                query.bind(*conversation_id).bind(*user_id).bind(**through as i64)
            })
            .await;
        all("read marks", moved, marks.len())
    }

    async fn store_inboxes(&self, connection: &mut SqliteConnection) -> Result<(), Error> {
        let stored = INSERT_NOTIFICATIONS
            .run(connection, &self.notifications, |query, added| {
                query
                    .bind(added.position as i64)
                    .bind(&added.created.notification_id.0.as_bytes()[..])
                    .bind(added.user_id)
                    .bind(added.created.message_position as i64)
                    .bind(&added.created.message_id.0.as_bytes()[..])
                    .bind(added.at.0)
            })
            .await;
        all("notifications", stored, self.notifications.len())?;
        for read in &self.notifications_read {
            let ids = match read.scope {
                ReadScope::All => None,
                ReadScope::Ids(ids) => Some(super::notifications::as_json(ids)),
            };
            let statement =
                if ids.is_some() { MARK_NOTIFICATIONS_READ } else { MARK_ALL_NOTIFICATIONS_READ };
            let query = sqlx::query(statement)
                .bind(read.user_id)
                .bind(read.position as i64)
                .bind(read.at.0);
            let query = if let Some(ids) = ids { query.bind(ids) } else { query };
            query.execute(&mut *connection).await.map_err(failed)?;
        }
        INSERT_DELIVERIES
            .run(connection, &self.deliveries, |query, advanced| {
                query
                    .bind(advanced.user_id)
                    .bind(advanced.through as i64)
                    .bind(advanced.outcome)
                    .bind(advanced.at.0)
            })
            .await
            .map_err(failed)?;
        INSERT_REFRESHES
            .run(connection, &self.refreshes, |query, refresh| {
                query.bind(refresh.position as i64).bind(refresh.list).bind(refresh.user_id)
            })
            .await
            .map_err(failed)?;
        Ok(())
    }
}

impl<'q> Member<'q> {
    fn bind(query: Query<'q>, member: &'q Self) -> Query<'q> {
        query.bind(member.position as i64).bind(member.conversation_id).bind(member.user_id)
    }
}

/// Whether a statement found all that its rows refer to.
fn all(what: &str, changed: Result<u64, sqlx::Error>, wanted: usize) -> Result<(), Error> {
    let changed = changed.map_err(failed)?;
    if changed == wanted as u64 {
        Ok(())
    } else {
        Err(Error::Corrupt(format!("of {wanted} {what}, {changed} fit what is stored")))
    }
}
