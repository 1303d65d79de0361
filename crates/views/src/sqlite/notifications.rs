//! A user's notifications. What they say is looked up in their message.

use sqlx::SqlitePool;
use verbatim_domain::{NotificationId, UserId};
use verbatim_protocol::JournalId;
use verbatim_protocol::client::{Notification, Page};

use super::rows::failed;
use crate::cursor::List;
use crate::lists::Start;
use crate::rows::{notification, number, parsed};
use crate::{Error, PageRequest};

pub(super) async fn list(
    pool: &SqlitePool,
    journal: JournalId,
    user: &UserId,
    unread_only: bool,
    page: &PageRequest,
) -> Result<Page<Notification>, Error> {
    let start = Start::of_notifications(page, journal, unread_only)?;
    let statement = match start.list {
        List::UnreadNotifications => include_str!("statements/select_unread_notifications.sql"),
        _ => include_str!("statements/select_notifications.sql"),
    };
    let mut found = sqlx::query(statement)
        .bind(user.as_str())
        .bind(start.below as i64)
        .bind(start.rows())
        .fetch_all(pool)
        .await
        .map_err(failed)?;
    let next_cursor = start.cut(&mut found, journal, |row| number(row, 0))?;
    let data = found.iter().map(|row| notification(row, user)).collect::<Result<_, _>>()?;
    Ok(Page { data, next_cursor })
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
