//! Messages of a conversation, and single ones.

use rusqlite::{Connection, Row, params};
use verbatim_domain::{ConversationId, MessageId};
use verbatim_protocol::JournalId;
use verbatim_protocol::client::{Message, Page};
use verbatim_sqlite::select;

use super::rows::first;
use crate::rows::{self, number};
use crate::window::Window;
use crate::{Error, MessageRange, StreamMessage};

pub(super) fn list(
    connection: &Connection,
    journal: JournalId,
    id: &ConversationId,
    range: &MessageRange,
) -> Result<Page<Message>, Error> {
    let sql = "select key, last_sequence from conversations where id = ?";
    let read = |row: &Row<'_>| Ok((number(row, 0)?, number(row, 1)?));
    let (key, newest) = first(connection, sql, [id.as_str()], read)?.unwrap_or_default();
    let mut range = range.clone();
    range.page.limit = crate::clamp(range.page.limit);
    let Window { first: oldest, last, next_cursor } = Window::of(&range, journal, key, newest)?;
    if last < oldest {
        return Ok(Page { data: Vec::new(), next_cursor });
    }
    let sql = include_str!("statements/select_messages.sql");
    let bounds = params![key as i64, oldest as i64, last as i64];
    let message = |row: &Row<'_>| rows::message(row, 0).map(|found| found.message);
    let data = select(connection, sql, bounds, message)?;
    Ok(Page { data, next_cursor })
}

pub(super) fn one(connection: &Connection, id: MessageId) -> Result<Option<StreamMessage>, Error> {
    let sql = include_str!("statements/select_message.sql");
    first(connection, sql, [&id.0.as_bytes()[..]], |row| rows::message(row, 0))
}
