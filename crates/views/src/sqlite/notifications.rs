//! A user's notifications. What they say is looked up in their message.

use sqlx::SqlitePool;
use sqlx::sqlite::SqliteRow;
use verbatim_domain::{MessageId, NotificationId, UserId};
use verbatim_protocol::client::{Notification, NotificationKind, Page, SenderInfo};
use verbatim_protocol::{JournalId, Timestamp};

use super::rows::{column, failed, number, parsed, time, uuid};
use crate::cursor::{self, List};
use crate::{Error, PageRequest};

pub(super) async fn list(
    pool: &SqlitePool,
    journal: JournalId,
    user: &UserId,
    unread_only: bool,
    page: &PageRequest,
) -> Result<Page<Notification>, Error> {
    // A cursor remembers which of the two lists it leads on in.
    let first = if unread_only { List::UnreadNotifications } else { List::Notifications };
    let (list, below) = match &page.cursor {
        None => (first, i64::MAX as u64),
        Some(text) => match cursor::decode(text, journal)? {
            (list @ (List::Notifications | List::UnreadNotifications), [below]) => (list, below),
            _ => return Err(Error::BadCursor),
        },
    };
    let statement = match list {
        List::UnreadNotifications => include_str!("statements/select_unread_notifications.sql"),
        _ => include_str!("statements/select_notifications.sql"),
    };
    let limit = crate::clamp(page.limit);
    // One more than the page tells whether another follows.
    let mut found = sqlx::query(statement)
        .bind(user.as_str())
        .bind(below as i64)
        .bind(i64::from(limit) + 1)
        .fetch_all(pool)
        .await
        .map_err(failed)?;
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let next_cursor = match found.last() {
        Some(row) if more => Some(cursor::encode(list, journal, [number(row, 0)?])),
        _ => None,
    };
    let data = found.iter().map(|row| notification(row, user)).collect::<Result<_, _>>()?;
    Ok(Page { data, next_cursor })
}

fn notification(row: &SqliteRow, user: &UserId) -> Result<Notification, Error> {
    let read_at: Option<i64> = column(row, 3)?;
    let sender_id: UserId = parsed(row, 6)?;
    Ok(Notification {
        id: NotificationId(uuid(row, 1)?),
        user_id: user.clone(),
        kind: NotificationKind::Message,
        conversation_id: parsed(row, 4)?,
        message_id: MessageId(uuid(row, 5)?),
        sender_id: sender_id.clone(),
        sender_info: SenderInfo {
            user_id: sender_id,
            email: column(row, 8)?,
            role: column(row, 7)?,
        },
        content: column(row, 9)?,
        is_read: read_at.is_some(),
        read_at: read_at.map(Timestamp),
        created_at: time(row, 2)?,
    })
}

pub(super) async fn unread(pool: &SqlitePool, user: &UserId) -> Result<u64, Error> {
    let row = sqlx::query(include_str!("statements/count_unread_notifications.sql"))
        .bind(user.as_str())
        .fetch_one(pool)
        .await
        .map_err(failed)?;
    number(&row, 0)
}

pub(super) async fn foreign(
    pool: &SqlitePool,
    user: &UserId,
    ids: &[NotificationId],
) -> Result<Vec<NotificationId>, Error> {
    let found = sqlx::query(include_str!("statements/select_foreign_notifications.sql"))
        .bind(user.as_str())
        .bind(as_json(ids))
        .fetch_all(pool)
        .await
        .map_err(failed)?;
    found.iter().map(|row| parsed(row, 0)).collect()
}

/// A JSON array of the ids in hexadecimal digits, for statements that take many.
pub(super) fn as_json(ids: &[NotificationId]) -> String {
    let digits: Vec<String> = ids.iter().map(|id| format!("\"{}\"", id.0.simple())).collect();
    format!("[{}]", digits.join(","))
}
