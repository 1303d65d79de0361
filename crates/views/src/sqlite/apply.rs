//! Stores what a batch of events changes: a few statements for the whole batch.

use rusqlite::{Connection, params};
use verbatim_domain::inbox::ReadScope;

use super::bulk::{Bulk, Values};
use crate::Error;
use crate::batch::{Batch, Member};

macro_rules! bulk {
    ($name:ident, $file:literal, $columns:literal) => {
        static $name: Bulk = Bulk::new(include_str!(concat!("statements/", $file)), $columns);
    };
}

bulk!(INSERT_CONVERSATIONS, "insert_conversations.sql", 8);
bulk!(INSERT_MEMBERS, "insert_members.sql", 3);
bulk!(INSERT_GROUP_REFRESHES, "insert_group_refreshes.sql", 3);
bulk!(INSERT_REFRESHES, "insert_refreshes.sql", 3);
bulk!(INSERT_MESSAGES, "insert_messages.sql", 12);
bulk!(TOUCH_CONVERSATIONS, "touch_conversations.sql", 7);
bulk!(COUNT_OWN_MESSAGES, "count_own_messages.sql", 3);
bulk!(MOVE_READ_MARKS, "move_read_marks.sql", 3);
bulk!(INSERT_NOTIFICATIONS, "insert_notifications.sql", 6);
bulk!(INSERT_DELIVERIES, "insert_deliveries.sql", 4);

const MARK_NOTIFICATIONS_READ: &str = include_str!("statements/mark_notifications_read.sql");
const MARK_ALL_NOTIFICATIONS_READ: &str =
    include_str!("statements/mark_all_notifications_read.sql");

impl Batch<'_> {
    /// Stores the changes of the events above `from` up to `through`, on a connection with an open
    /// transaction.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if a change refers to what isn't there, else [`Error::Unavailable`].
    pub fn store(&self, connection: &Connection, from: u64, through: u64) -> Result<(), Error> {
        self.store_conversations(connection)?;
        if !self.messages.is_empty() {
            self.store_messages(connection)?;
            let indexed = connection
                .prepare_cached(include_str!("statements/index_messages.sql"))
                .and_then(|mut index| index.execute([from as i64, through as i64]));
            all("index entries", indexed, self.messages.len())?;
        }
        self.move_read_marks(connection)?;
        self.store_inboxes(connection)
    }

    fn store_conversations(&self, connection: &Connection) -> Result<(), Error> {
        INSERT_CONVERSATIONS.run(connection, &self.conversations, |values, added| {
            values
                .bind(added.position as i64)
                .bind(added.id)
                .bind(added.kind)
                .bind(added.title)
                .bind(added.created_by)
                .bind(added.at.0)
                .bind(added.position as i64)
                .bind(added.at.0)
        })?;
        let stored = INSERT_MEMBERS.run(connection, &self.members, Member::bind);
        all("members", stored, self.members.len())?;
        INSERT_GROUP_REFRESHES.run(connection, &self.members, Member::bind)?;
        Ok(())
    }

    fn store_messages(&self, connection: &Connection) -> Result<(), Error> {
        let stored = INSERT_MESSAGES.run(connection, &self.messages, |values, added| {
            let sent = added.sent;
            values
                .bind(added.position as i64)
                .bind(&sent.message_id.0.as_bytes()[..])
                .bind(added.conversation_id)
                .bind(sent.sequence as i64)
                .bind(sent.sender_id.as_str())
                .bind(&sent.sender_role)
                .bind(added.at.0)
                .bind(added.said.content)
                .bind(added.said.attachments.as_deref())
                .bind(added.said.email)
                .bind(sent.client_message_id.as_ref().map(AsRef::as_ref))
                .bind(added.said.sealed.as_deref())
        });
        all("messages", stored, self.messages.len())?;

        let news: Vec<_> = self.news.iter().collect();
        let touched =
            TOUCH_CONVERSATIONS.run(connection, &news, |values, (conversation_id, news)| {
                values
                    .bind(**conversation_id)
                    .bind(news.first_sequence as i64)
                    .bind(news.last_sequence as i64)
                    .bind(news.last_position as i64)
                    .bind(news.at.0)
                    .bind(news.history_position as i64)
                    .bind(news.read_history as i64)
            });
        all("conversations with new messages", touched, news.len())?;

        let own: Vec<_> = self.own_messages.iter().collect();
        let counted = COUNT_OWN_MESSAGES.run(
            connection,
            &own,
            |values, ((conversation_id, user_id), added)| {
                values.bind(*conversation_id).bind(*user_id).bind(**added)
            },
        );
        all("senders", counted, own.len())
    }

    fn move_read_marks(&self, connection: &Connection) -> Result<(), Error> {
        let marks: Vec<_> = self.read_marks.iter().collect();
        let moved = MOVE_READ_MARKS.run(
            connection,
            &marks,
            |values, ((conversation_id, user_id), through)| {
                values.bind(*conversation_id).bind(*user_id).bind(**through as i64)
            },
        );
        all("read marks", moved, marks.len())
    }

    fn store_inboxes(&self, connection: &Connection) -> Result<(), Error> {
        let stored = INSERT_NOTIFICATIONS.run(connection, &self.notifications, |values, added| {
            values
                .bind(added.position as i64)
                .bind(&added.created.notification_id.0.as_bytes()[..])
                .bind(added.user_id)
                .bind(added.created.message_position as i64)
                .bind(&added.created.message_id.0.as_bytes()[..])
                .bind(added.at.0)
        });
        all("notifications", stored, self.notifications.len())?;
        for read in &self.notifications_read {
            let (position, at) = (read.position as i64, read.at.0);
            let marked = match read.scope {
                ReadScope::All => connection
                    .prepare_cached(MARK_ALL_NOTIFICATIONS_READ)
                    .and_then(|mut mark| mark.execute(params![read.user_id, position, at])),
                ReadScope::Ids(ids) => {
                    let ids = super::notifications::as_json(ids);
                    connection
                        .prepare_cached(MARK_NOTIFICATIONS_READ)
                        .and_then(|mut mark| mark.execute(params![read.user_id, position, at, ids]))
                }
            };
            marked?;
        }
        INSERT_DELIVERIES.run(connection, &self.deliveries, |values, advanced| {
            values
                .bind(advanced.user_id)
                .bind(advanced.through as i64)
                .bind(advanced.outcome)
                .bind(advanced.at.0)
        })?;
        INSERT_REFRESHES.run(connection, &self.refreshes, |values, refresh| {
            values.bind(refresh.position as i64).bind(refresh.list).bind(refresh.user_id)
        })?;
        Ok(())
    }
}

impl Member<'_> {
    fn bind<'c>(values: Values<'c>, member: &Self) -> Values<'c> {
        values.bind(member.position as i64).bind(member.conversation_id).bind(member.user_id)
    }
}

/// Whether a statement found all that its rows refer to.
fn all(what: &str, changed: Result<usize, rusqlite::Error>, wanted: usize) -> Result<(), Error> {
    let changed = changed?;
    if changed == wanted {
        Ok(())
    } else {
        Err(Error::Corrupt(format!("of {wanted} {what}, {changed} fit what is stored")))
    }
}
