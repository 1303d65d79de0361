//! What reached whom.

use rusqlite::Connection;
use verbatim_domain::{ConversationId, MessageId, UserId};
use verbatim_protocol::client::Delivery;
use verbatim_sqlite::select;

use super::rows::only;
use crate::Error;
use crate::rows::delivery;

/// The user's delivered mark.
pub(super) fn through(connection: &Connection, user: &UserId) -> Result<u64, Error> {
    let sql = "select coalesce(max(through), 0) from deliveries where user_id = ?";
    only(connection, sql, [user.as_str()])
}

pub(super) fn of_message(
    connection: &Connection,
    id: MessageId,
) -> Result<Option<(ConversationId, Vec<Delivery>)>, Error> {
    let Some(found) = super::messages::one(connection, id)? else { return Ok(None) };
    let sql = include_str!("statements/select_deliveries.sql");
    let deliveries = select(connection, sql, [found.position as i64], |row| delivery(row))?;
    Ok(Some((found.message.conversation_id, deliveries)))
}
