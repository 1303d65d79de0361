//! Messages of a conversation, and single ones.

use rusqlite::{Connection, params};
use verbatim_domain::{ConversationId, MessageId};
use verbatim_protocol::JournalId;
use verbatim_protocol::client::{Message, Page};

use super::rows::select;
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
    let (key, newest) = match select(connection, sql, [id.as_str()])?.first() {
        Some(row) => (number(row, 0)?, number(row, 1)?),
        None => (0, 0),
    };
    let mut range = range.clone();
    range.page.limit = crate::clamp(range.page.limit);
    let Window { first, last, next_cursor } = Window::of(&range, journal, key, newest)?;
    if last < first {
        return Ok(Page { data: Vec::new(), next_cursor });
    }
    let sql = include_str!("statements/select_messages.sql");
    let found = select(connection, sql, params![key as i64, first as i64, last as i64])?;
    let data = found
        .iter()
        .map(|row| rows::message(row, 0).map(|found| found.message))
        .collect::<Result<_, _>>()?;
    Ok(Page { data, next_cursor })
}

pub(super) fn one(connection: &Connection, id: MessageId) -> Result<Option<StreamMessage>, Error> {
    let sql = include_str!("statements/select_message.sql");
    let found = select(connection, sql, [&id.0.as_bytes()[..]])?;
    found.first().map(|row| rows::message(row, 0)).transpose()
}
