//! Stores what a batch of events changes: a few statements for the whole batch.

use std::collections::HashMap;

use sqlx::postgres::{PgArguments, PgConnection};
use sqlx::query::Query;
use sqlx::{Postgres, query};
use verbatim_domain::inbox::ReadScope;

use super::schema::Schema;
use crate::batch::{Batch, Message};

/// Why a batch isn't stored.
pub(super) enum Refused {
    Sql(sqlx::Error),
    /// It refers to what isn't there.
    Corrupt(String),
}

impl From<sqlx::Error> for Refused {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

macro_rules! statement {
    ($schema:expr, $file:literal) => {
        $schema.of(include_str!(concat!("statements/", $file)))
    };
}

impl Batch<'_> {
    /// Stores the changes, on a connection with an open transaction.
    pub(super) async fn store_in(
        &self,
        schema: Schema,
        connection: &mut PgConnection,
    ) -> Result<(), Refused> {
        self.put_conversations(schema, connection).await?;
        self.put_messages(schema, connection).await?;
        self.put_read_marks(schema, connection).await?;
        self.put_notifications(schema, connection).await?;
        self.put_rest(schema, connection).await
    }

    async fn put_conversations(
        &self,
        schema: Schema,
        connection: &mut PgConnection,
    ) -> Result<(), Refused> {
        let added = &self.conversations;
        if !added.is_empty() {
            let titles = added.iter().map(|added| added.title.map(str::as_bytes));
            query(&statement!(schema, "insert_conversations.sql"))
                .bind(each(added, |added| added.position as i64))
                .bind(each(added, |added| added.id))
                .bind(each(added, |added| added.kind))
                .bind(titles.collect::<Vec<_>>())
                .bind(each(added, |added| added.created_by))
                .bind(each(added, |added| added.at.0))
                .execute(&mut *connection)
                .await?;
        }
        let added = &self.members;
        if added.is_empty() {
            return Ok(());
        }
        let insert = statement!(schema, "insert_members.sql");
        let refresh = statement!(schema, "insert_group_refreshes.sql");
        let bound = |sql| {
            query(sql)
                .bind(each(added, |added| added.position as i64))
                .bind(each(added, |added| added.conversation_id))
                .bind(each(added, |added| added.user_id))
        };
        all("members", bound(&insert), added.len(), connection).await?;
        bound(&refresh).execute(connection).await?;
        Ok(())
    }

    async fn put_messages(
        &self,
        schema: Schema,
        connection: &mut PgConnection,
    ) -> Result<(), Refused> {
        let added = &self.messages;
        if added.is_empty() {
            return Ok(());
        }
        let senders: Vec<_> = self.own_messages.iter().collect();
        let numbers: HashMap<_, _> = senders.iter().map(|(sender, _)| **sender).zip(1..).collect();
        let sender_of = |m: &Message<'_>| numbers[&(m.conversation_id, m.sent.sender_id.as_str())];
        let emails = added.iter().map(|m| m.said.email.map(str::as_bytes));
        let client_ids = added
            .iter()
            .map(|m| m.sent.client_message_id.as_ref().map(|id| id.as_str().as_bytes()));
        let sql = statement!(schema, "insert_messages.sql");
        let insert = query(&sql)
            .bind(each(&senders, |((conversation_id, _), _)| *conversation_id))
            .bind(each(&senders, |((_, user_id), _)| *user_id))
            .bind(each(&senders, |(_, added)| **added))
            .bind(each(added, |added| added.position as i64))
            .bind(each(added, |added| added.sent.message_id.0.as_bytes().to_vec()))
            .bind(each::<_, i32>(added, sender_of))
            .bind(each(added, |added| added.sent.sequence as i64))
            .bind(each(added, |added| added.sent.sender_id.as_str()))
            .bind(each(added, |added| added.sent.sender_role.as_bytes()))
            .bind(each(added, |added| added.at.0))
            .bind(each(added, |added| added.said.content.as_bytes()))
            .bind(each(added, |added| added.said.attachments.as_deref()))
            .bind(emails.collect::<Vec<_>>())
            .bind(client_ids.collect::<Vec<_>>())
            .bind(each(added, |added| added.said.sealed.as_deref()));
        all("messages", insert, added.len(), connection).await?;

        let news: Vec<_> = self.news.iter().collect();
        let sql = statement!(schema, "touch_conversations.sql");
        let touch = query(&sql)
            .bind(each(&news, |(id, _)| **id))
            .bind(each(&news, |(_, news)| news.first_sequence as i64))
            .bind(each(&news, |(_, news)| news.last_sequence as i64))
            .bind(each(&news, |(_, news)| news.last_position as i64))
            .bind(each(&news, |(_, news)| news.at.0))
            .bind(each(&news, |(_, news)| news.history_position as i64))
            .bind(each(&news, |(_, news)| news.read_history as i64));
        all("conversations with new messages", touch, news.len(), connection).await
    }

    async fn put_read_marks(
        &self,
        schema: Schema,
        connection: &mut PgConnection,
    ) -> Result<(), Refused> {
        let marks: Vec<_> = self.read_marks.iter().collect();
        if marks.is_empty() {
            return Ok(());
        }
        let sql = statement!(schema, "move_read_marks.sql");
        let moved = query(&sql)
            .bind(each(&marks, |((conversation_id, _), _)| *conversation_id))
            .bind(each(&marks, |((_, user_id), _)| *user_id))
            .bind(each(&marks, |(_, through)| **through as i64));
        all("read marks", moved, marks.len(), connection).await
    }

    async fn put_notifications(
        &self,
        schema: Schema,
        connection: &mut PgConnection,
    ) -> Result<(), Refused> {
        let added = &self.notifications;
        if !added.is_empty() {
            let sql = statement!(schema, "insert_notifications.sql");
            let insert = query(&sql)
                .bind(each(added, |added| added.position as i64))
                .bind(each(added, |added| added.created.notification_id.0.as_bytes().to_vec()))
                .bind(each(added, |added| added.user_id))
                .bind(each(added, |added| added.created.message_position as i64))
                .bind(each(added, |added| added.created.message_id.0.as_bytes().to_vec()))
                .bind(each(added, |added| added.at.0));
            all("notifications", insert, added.len(), connection).await?;
        }
        for read in &self.notifications_read {
            let ids = match read.scope {
                ReadScope::All => None,
                ReadScope::Ids(ids) => Some(each(ids, |id| id.0.as_bytes().to_vec())),
            };
            query(&statement!(schema, "mark_notifications_read.sql"))
                .bind(read.user_id)
                .bind(read.position as i64)
                .bind(read.at.0)
                .bind(ids)
                .execute(&mut *connection)
                .await?;
        }
        Ok(())
    }

    async fn put_rest(&self, schema: Schema, connection: &mut PgConnection) -> Result<(), Refused> {
        let advanced = &self.deliveries;
        if !advanced.is_empty() {
            query(&statement!(schema, "insert_deliveries.sql"))
                .bind(each(advanced, |advanced| advanced.user_id))
                .bind(each(advanced, |advanced| advanced.through as i64))
                .bind(each(advanced, |advanced| advanced.outcome))
                .bind(each(advanced, |advanced| advanced.at.0))
                .execute(&mut *connection)
                .await?;
        }
        let pushed = &self.refreshes;
        if !pushed.is_empty() {
            query(&statement!(schema, "insert_refreshes.sql"))
                .bind(each(pushed, |pushed| pushed.position as i64))
                .bind(each(pushed, |pushed| pushed.list))
                .bind(each(pushed, |pushed| pushed.user_id))
                .execute(&mut *connection)
                .await?;
        }
        Ok(())
    }
}

/// One column of an array of rows.
fn each<'r, R, T>(rows: &'r [R], of: impl Fn(&'r R) -> T) -> Vec<T> {
    rows.iter().map(of).collect()
}

/// Runs a statement that must find all that its rows refer to.
async fn all(
    what: &str,
    statement: Query<'_, Postgres, PgArguments>,
    wanted: usize,
    connection: &mut PgConnection,
) -> Result<(), Refused> {
    let changed = statement.execute(connection).await?.rows_affected();
    if changed == wanted as u64 {
        return Ok(());
    }
    Err(Refused::Corrupt(format!("of {wanted} {what}, {changed} fit what is stored")))
}
