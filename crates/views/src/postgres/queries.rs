//! What gateways ask.

use std::collections::HashMap;

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{Postgres, query};
use verbatim_domain::{ConversationId, MessageId, NotificationId, UserId};
use verbatim_postgres::Database;
use verbatim_protocol::client::{Conversation, Delivery, Message, Notification, Page};
use verbatim_protocol::{JournalId, Push};

use super::rows::column;
use crate::cursor::List;
use crate::lists::Start;
use crate::rows::{
    self, MembersByKey, delivery, kind, notification, number, parsed, signed, uuid, word,
};
use crate::window::Window;
use crate::{Error, Members, MessageRange, PageRequest, StreamMessage, clamp, recipients};

type Asked = Query<'static, Postgres, PgArguments>;

pub(super) async fn all(database: &Database, query: Asked) -> Result<Vec<PgRow>, Error> {
    Ok(database.run(|connection| Box::pin(query.fetch_all(connection))).await?)
}

/// All that a statement gives, each row as `read` makes it.
async fn read<T>(
    database: &Database,
    query: Asked,
    read: impl Fn(&PgRow) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    all(database, query).await?.iter().map(read).collect()
}

async fn optional(database: &Database, query: Asked) -> Result<Option<PgRow>, Error> {
    Ok(database.run(|connection| Box::pin(query.fetch_optional(connection))).await?)
}

async fn one(database: &Database, query: Asked) -> Result<PgRow, Error> {
    Ok(database.run(|connection| Box::pin(query.fetch_one(connection))).await?)
}

macro_rules! asked {
    ($file:literal) => {
        query(include_str!(concat!("statements/", $file)))
    };
}

pub(super) async fn conversation(
    database: &Database,
    reader: &UserId,
    id: &ConversationId,
) -> Result<Option<Conversation>, Error> {
    let asked = asked!("select_conversation.sql").bind(reader.to_string()).bind(id.to_string());
    let Some(row) = optional(database, asked).await? else { return Ok(None) };
    let found = rows::conversation(&row)?;
    let members = members_of(database, vec![found.key]).await?;
    Ok(Some(found.with(&members)))
}

pub(super) async fn conversations(
    database: &Database,
    journal: JournalId,
    reader: &UserId,
    page: &PageRequest,
) -> Result<Page<Conversation>, Error> {
    let start = Start::of_conversations(page, journal)?;
    let asked = asked!("select_conversations.sql")
        .bind(reader.to_string())
        .bind(start.below as i64)
        .bind(start.rows());
    let mut found = read(database, asked, rows::conversation).await?;
    let next_cursor = start.cut(&mut found, journal, |found| found.last_position);
    let keys = found.iter().map(|found| found.key).collect();
    let members = members_of(database, keys).await?;
    let data = found.into_iter().map(|found| found.with(&members)).collect();
    Ok(Page { data, next_cursor })
}

async fn members_of(database: &Database, keys: Vec<u64>) -> Result<MembersByKey, Error> {
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let wanted: Vec<i64> = keys.iter().map(|key| *key as i64).collect();
    let asked = asked!("select_members.sql").bind(wanted);
    Ok(rows::by_key(read(database, asked, rows::member).await?))
}

pub(super) async fn members(
    database: &Database,
    ids: &[ConversationId],
) -> Result<HashMap<ConversationId, Members>, Error> {
    let asked = query("select key, id, kind from views.conversations where id = any ($1)")
        .bind(ids.iter().map(ConversationId::to_string).collect::<Vec<_>>());
    let kinds =
        read(database, asked, |row| Ok((number(row, 0)?, parsed(row, 1)?, kind(word(row, 2)?)?)));
    let kinds: Vec<_> = kinds.await?;
    let keys = kinds.iter().map(|(key, ..)| *key).collect();
    Ok(rows::with_kinds(kinds, members_of(database, keys).await?))
}

pub(super) async fn is_member(
    database: &Database,
    id: &ConversationId,
    user: &UserId,
) -> Result<Option<bool>, Error> {
    let asked = asked!("select_membership.sql").bind(id.to_string()).bind(user.to_string());
    optional(database, asked).await?.map(|row| column(&row, 0)).transpose()
}

pub(super) async fn messages(
    database: &Database,
    journal: JournalId,
    id: &ConversationId,
    range: &MessageRange,
) -> Result<Page<Message>, Error> {
    let asked = query("select key, last_sequence from views.conversations where id = $1")
        .bind(id.to_string());
    let (key, newest) = match optional(database, asked).await? {
        Some(row) => (number(&row, 0)?, number(&row, 1)?),
        None => (0, 0),
    };
    let mut range = range.clone();
    range.page.limit = clamp(range.page.limit);
    let Window { first, last, next_cursor } = Window::of(&range, journal, key, newest)?;
    if last < first {
        return Ok(Page { data: Vec::new(), next_cursor });
    }
    let asked = asked!("select_messages.sql").bind(key as i64).bind(first as i64).bind(last as i64);
    let data = read(database, asked, |row| Ok(rows::message(row, 0)?.message)).await?;
    Ok(Page { data, next_cursor })
}

pub(super) async fn message(
    database: &Database,
    id: MessageId,
) -> Result<Option<StreamMessage>, Error> {
    let asked = asked!("select_message.sql").bind(id.0.as_bytes().to_vec());
    optional(database, asked).await?.map(|row| rows::message(&row, 0)).transpose()
}

pub(super) async fn stream(
    database: &Database,
    user: &UserId,
    after: u64,
    through: u64,
    limit: u32,
) -> Result<Vec<StreamMessage>, Error> {
    let asked = asked!("select_stream.sql")
        .bind(user.to_string())
        .bind(signed(after))
        .bind(signed(through))
        .bind(i64::from(limit));
    read(database, asked, |row| rows::message(row, 0)).await
}

pub(super) async fn pushes(
    database: &Database,
    after: u64,
    through: u64,
    limit: u32,
) -> Result<Vec<Push>, Error> {
    let bounds =
        |asked: Asked| asked.bind(signed(after)).bind(signed(through)).bind(i64::from(limit));
    let messages = bounds(asked!("select_pushed_messages.sql"));
    let messages = read(database, messages, rows::pushed).await?;
    let refreshes = read(database, bounds(asked!("select_refreshes.sql")), rows::refresh).await?;
    let members = members_of(database, recipients::conversations(&messages)).await?;
    recipients::pushes(messages, refreshes, members, limit)
}

pub(super) async fn delivered_through(database: &Database, user: &UserId) -> Result<u64, Error> {
    let sql = "select coalesce(max(through), 0) from views.deliveries where user_id = $1";
    number(&one(database, query(sql).bind(user.to_string())).await?, 0)
}

pub(super) async fn notifications(
    database: &Database,
    journal: JournalId,
    user: &UserId,
    unread_only: bool,
    page: &PageRequest,
) -> Result<Page<Notification>, Error> {
    let start = Start::of_notifications(page, journal, unread_only)?;
    let asked = match start.list {
        List::UnreadNotifications => asked!("select_unread_notifications.sql"),
        _ => asked!("select_notifications.sql"),
    };
    let asked = asked.bind(user.to_string()).bind(start.below as i64).bind(start.rows());
    let mut found = read(database, asked, |row| notification(row, user)).await?;
    let next_cursor = start.cut(&mut found, journal, |(position, _)| *position);
    let data = found.into_iter().map(|(_, notification)| notification).collect();
    Ok(Page { data, next_cursor })
}

pub(super) async fn unread(database: &Database, user: &UserId) -> Result<u64, Error> {
    let sql = "select count(*) from views.notifications where user_id = $1 and read_at is null";
    number(&one(database, query(sql).bind(user.to_string())).await?, 0)
}

pub(super) async fn foreign(
    database: &Database,
    user: &UserId,
    ids: &[NotificationId],
) -> Result<Vec<NotificationId>, Error> {
    let wanted: Vec<_> = ids.iter().map(|id| id.0.as_bytes().to_vec()).collect();
    let asked = asked!("select_foreign_notifications.sql").bind(user.to_string()).bind(wanted);
    read(database, asked, |row| uuid(row, 0).map(NotificationId)).await
}

pub(super) async fn deliveries(
    database: &Database,
    id: MessageId,
) -> Result<Option<(ConversationId, Vec<Delivery>)>, Error> {
    let Some(found) = message(database, id).await? else { return Ok(None) };
    let asked = asked!("select_deliveries.sql").bind(found.position as i64);
    let deliveries = read(database, asked, delivery).await?;
    Ok(Some((found.message.conversation_id, deliveries)))
}
