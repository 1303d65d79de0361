//! What gateways ask.

use std::collections::HashMap;
use std::sync::Arc;

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{Postgres, query};
use verbatim_domain::conversation::ConversationKind;
use verbatim_domain::{ConversationId, MessageId, NotificationId, UserId};
use verbatim_postgres::Database;
use verbatim_protocol::client::{
    Conversation, Delivery, DeliveryStatus, Message, Notification, NotificationKind, Page,
    SenderInfo,
};
use verbatim_protocol::{JournalId, List, MessagePush, Push, Refresh, Timestamp};

use super::rows::{self, column, number, parsed, text, time, uuid, written};
use crate::cursor::{self, List as Cursors};
use crate::recipients::Recipients;
use crate::window::Window;
use crate::{Error, Member, Members, MessageRange, PageRequest, StreamMessage, clamp};

/// How many characters of a message its notification shows.
const SHOWN: usize = 140;

type Asked = Query<'static, Postgres, PgArguments>;

pub(super) async fn all(database: &Database, query: Asked) -> Result<Vec<PgRow>, Error> {
    Ok(database.run(|connection| Box::pin(query.fetch_all(connection))).await?)
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

/// The members of conversations, by key, each in the order in which they joined.
type MembersByKey = HashMap<u64, Vec<Member>>;

pub(super) async fn conversation(
    database: &Database,
    reader: &UserId,
    id: &ConversationId,
) -> Result<Option<Conversation>, Error> {
    let asked = asked!("select_conversation.sql").bind(reader.to_string()).bind(id.to_string());
    let Some(row) = optional(database, asked).await? else { return Ok(None) };
    let members = members_of(database, vec![number(&row, 0)?]).await?;
    shown(&row, &members).map(Some)
}

pub(super) async fn conversations(
    database: &Database,
    journal: JournalId,
    reader: &UserId,
    page: &PageRequest,
) -> Result<Page<Conversation>, Error> {
    let below = match &page.cursor {
        None => i64::MAX as u64,
        Some(text) => match cursor::decode(text, journal)? {
            (Cursors::Conversations, [below]) => below,
            _ => return Err(Error::BadCursor),
        },
    };
    let limit = clamp(page.limit);
    // One more than the page tells whether another follows.
    let asked = asked!("select_conversations.sql")
        .bind(reader.to_string())
        .bind(below as i64)
        .bind(i64::from(limit) + 1);
    let mut found = all(database, asked).await?;
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let next_cursor = match found.last() {
        Some(row) if more => {
            Some(cursor::encode(Cursors::Conversations, journal, [number(row, 7)?]))
        }
        _ => None,
    };
    let keys = found.iter().map(|row| number(row, 0)).collect::<Result<_, _>>()?;
    let members = members_of(database, keys).await?;
    let data = found.iter().map(|row| shown(row, &members)).collect::<Result<_, _>>()?;
    Ok(Page { data, next_cursor })
}

fn shown(row: &PgRow, members: &MembersByKey) -> Result<Conversation, Error> {
    let members = members.get(&number(row, 0)?).map_or(&[][..], Vec::as_slice);
    let last: Option<i64> = column(row, 9)?;
    Ok(Conversation {
        id: parsed(row, 1)?,
        kind: kind(column(row, 2)?)?,
        title: written(row, 3)?,
        member_ids: members.iter().map(|member| member.user_id.clone()).collect(),
        created_by: parsed(row, 4)?,
        last_message: last.map(|_| rows::message(row, 9)).transpose()?.map(|last| last.message),
        unread_count: number(row, 8)?,
        created_at: time(row, 5)?,
        updated_at: time(row, 6)?,
    })
}

fn kind(name: &str) -> Result<ConversationKind, Error> {
    [ConversationKind::Direct, ConversationKind::Group]
        .into_iter()
        .find(|kind| kind.as_str() == name)
        .ok_or_else(|| Error::Corrupt(format!("a conversation of kind {name:?}")))
}

async fn members_of(database: &Database, keys: Vec<u64>) -> Result<MembersByKey, Error> {
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let wanted: Vec<i64> = keys.iter().map(|key| *key as i64).collect();
    let found = all(database, asked!("select_members.sql").bind(wanted)).await?;
    let mut members = MembersByKey::with_capacity(keys.len());
    for row in &found {
        let member = Member { user_id: parsed(row, 1)?, joined_position: number(row, 2)? };
        members.entry(number(row, 0)?).or_default().push(member);
    }
    Ok(members)
}

pub(super) async fn members(
    database: &Database,
    id: &ConversationId,
) -> Result<Option<Members>, Error> {
    let asked =
        query("select key, kind from views.conversations where id = $1").bind(id.to_string());
    let Some(row) = optional(database, asked).await? else { return Ok(None) };
    let key = number(&row, 0)?;
    let members = members_of(database, vec![key]).await?.remove(&key).unwrap_or_default();
    Ok(Some(Members { kind: kind(column(&row, 1)?)?, members }))
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
    let found = all(database, asked).await?;
    let data = found
        .iter()
        .map(|row| rows::message(row, 0).map(|found| found.message))
        .collect::<Result<_, _>>()?;
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
    all(database, asked).await?.iter().map(|row| rows::message(row, 0)).collect()
}

pub(super) async fn pushes(
    database: &Database,
    after: u64,
    through: u64,
    limit: u32,
) -> Result<Vec<Push>, Error> {
    let bounds =
        |asked: Asked| asked.bind(signed(after)).bind(signed(through)).bind(i64::from(limit));
    let messages = all(database, bounds(asked!("select_pushed_messages.sql"))).await?;
    let refreshes = all(database, bounds(asked!("select_refreshes.sql"))).await?;
    let mut pushes = Vec::with_capacity(messages.len() + refreshes.len());
    for row in &refreshes {
        pushes.push(Push::Refresh(Refresh {
            position: number(row, 0)?,
            list: list(column(row, 1)?)?,
            user_id: parsed(row, 2)?,
        }));
    }
    let keys: Vec<u64> = messages.iter().map(|row| number(row, 11)).collect::<Result<_, _>>()?;
    let mut distinct = keys.clone();
    distinct.sort_unstable();
    distinct.dedup();
    let mut recipients = Recipients::new(members_of(database, distinct).await?);
    for (row, key) in messages.iter().zip(keys) {
        let StreamMessage { position, message } = rows::message(row, 0)?;
        let json =
            serde_json::to_string(&message).map_err(|error| Error::Unavailable(Box::new(error)))?;
        pushes.push(Push::Message(MessagePush {
            position,
            message_id: message.id,
            conversation_id: message.conversation_id,
            sender_id: message.sender_id,
            recipients: recipients.at(key, position),
            message: Arc::from(json),
        }));
    }
    pushes.sort_unstable_by_key(Push::position);
    pushes.truncate(limit as usize);
    Ok(pushes)
}

fn list(name: &str) -> Result<List, Error> {
    match name {
        "conversations" => Ok(List::Conversations),
        "notifications" => Ok(List::Notifications),
        other => Err(Error::Corrupt(format!("a push of the list {other:?}"))),
    }
}

/// A position as a column holds it; greater ones than any are the greatest.
fn signed(position: u64) -> i64 {
    i64::try_from(position).unwrap_or(i64::MAX)
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
    // A cursor remembers which of the two lists it leads on in.
    let first = if unread_only { Cursors::UnreadNotifications } else { Cursors::Notifications };
    let (list, below) = match &page.cursor {
        None => (first, i64::MAX as u64),
        Some(text) => match cursor::decode(text, journal)? {
            (list @ (Cursors::Notifications | Cursors::UnreadNotifications), [below]) => {
                (list, below)
            }
            _ => return Err(Error::BadCursor),
        },
    };
    let asked = match list {
        Cursors::UnreadNotifications => asked!("select_unread_notifications.sql"),
        _ => asked!("select_notifications.sql"),
    };
    let limit = clamp(page.limit);
    // One more than the page tells whether another follows.
    let asked = asked.bind(user.to_string()).bind(below as i64).bind(i64::from(limit) + 1);
    let mut found = all(database, asked).await?;
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let next_cursor = match found.last() {
        Some(row) if more => Some(cursor::encode(list, journal, [number(row, 0)?])),
        _ => None,
    };
    let data = found.iter().map(|row| notification(row, user)).collect::<Result<_, _>>()?;
    Ok(Page { data, next_cursor })
}

fn notification(row: &PgRow, user: &UserId) -> Result<Notification, Error> {
    let read_at: Option<i64> = column(row, 3)?;
    let sender_id: UserId = parsed(row, 6)?;
    let said: &[u8] = column(row, 9)?;
    // The last character may be cut; it lies beyond those that are shown.
    let content = String::from_utf8_lossy(said).chars().take(SHOWN).collect();
    Ok(Notification {
        id: NotificationId(uuid(row, 1)?),
        user_id: user.clone(),
        kind: NotificationKind::Message,
        conversation_id: parsed(row, 4)?,
        message_id: MessageId(uuid(row, 5)?),
        sender_id: sender_id.clone(),
        sender_info: SenderInfo {
            user_id: sender_id,
            email: written(row, 8)?,
            role: text(row, 7)?,
        },
        content,
        is_read: read_at.is_some(),
        read_at: read_at.map(Timestamp),
        created_at: time(row, 2)?,
    })
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
    all(database, asked).await?.iter().map(|row| uuid(row, 0).map(NotificationId)).collect()
}

pub(super) async fn deliveries(
    database: &Database,
    id: MessageId,
) -> Result<Option<(ConversationId, Vec<Delivery>)>, Error> {
    let Some(found) = message(database, id).await? else { return Ok(None) };
    let asked = asked!("select_deliveries.sql").bind(found.position as i64);
    let rows = all(database, asked).await?;
    let deliveries = rows.iter().map(delivery).collect::<Result<_, _>>()?;
    Ok(Some((found.message.conversation_id, deliveries)))
}

fn delivery(row: &PgRow) -> Result<Delivery, Error> {
    let delivered: Option<i64> = column(row, 1)?;
    let notified: Option<i64> = column(row, 2)?;
    let (status, updated_at) = match (delivered, notified) {
        (Some(at), _) => (DeliveryStatus::Delivered, Timestamp(at)),
        (None, Some(at)) => (DeliveryStatus::Offline, Timestamp(at)),
        (None, None) => (DeliveryStatus::Pending, time(row, 3)?),
    };
    Ok(Delivery { user_id: parsed(row, 0)?, status, updated_at })
}
