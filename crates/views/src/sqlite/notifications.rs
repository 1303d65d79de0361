//! A user's notifications. What they say is looked up in their message.

use rusqlite::{Connection, params};
use verbatim_domain::{NotificationId, UserId};
use verbatim_protocol::JournalId;
use verbatim_protocol::client::{Notification, Page};
use verbatim_sqlite::select;

use super::rows::only;
use crate::cursor::List;
use crate::lists::Start;
use crate::rows::{notification, parsed};
use crate::{Error, PageRequest};

pub(super) fn list(
    connection: &Connection,
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
    let bounds = params![user.as_str(), start.below as i64, start.rows()];
    let mut found = select(connection, statement, bounds, |row| notification(row, user))?;
    let next_cursor = start.cut(&mut found, journal, |(position, _)| *position);
    let data = found.into_iter().map(|(_, notification)| notification).collect();
    Ok(Page { data, next_cursor })
}

pub(super) fn unread(connection: &Connection, user: &UserId) -> Result<u64, Error> {
    let sql = include_str!("statements/count_unread_notifications.sql");
    only(connection, sql, [user.as_str()])
}

pub(super) fn foreign(
    connection: &Connection,
    user: &UserId,
    ids: &[NotificationId],
) -> Result<Vec<NotificationId>, Error> {
    let sql = include_str!("statements/select_foreign_notifications.sql");
    select(connection, sql, params![user.as_str(), as_json(ids)], |row| parsed(row, 0))
}

/// A JSON array of the ids in hexadecimal digits, for statements that take many.
pub(super) fn as_json(ids: &[NotificationId]) -> String {
    let digits: Vec<String> = ids.iter().map(|id| format!("\"{}\"", id.0.simple())).collect();
    format!("[{}]", digits.join(","))
}
