//! What is pushed, to one user or to all.

use rusqlite::{Connection, params};
use verbatim_domain::UserId;
use verbatim_protocol::Push;
use verbatim_sqlite::select;

use super::conversations::members_of;
use crate::rows::{self, signed};
use crate::{Error, StreamMessage, recipients};

pub(super) fn of_user(
    connection: &Connection,
    user: &UserId,
    after: u64,
    through: u64,
    limit: u32,
) -> Result<Vec<StreamMessage>, Error> {
    let sql = include_str!("statements/select_stream.sql");
    let bounds = params![user.as_str(), signed(after), signed(through), limit];
    select(connection, sql, bounds, |row| rows::message(row, 0))
}

pub(super) fn pushes(
    connection: &Connection,
    after: u64,
    through: u64,
    limit: u32,
) -> Result<Vec<Push>, Error> {
    let bounds = params![signed(after), signed(through), limit];
    let sql = include_str!("statements/select_pushed_messages.sql");
    let messages = select(connection, sql, bounds, |row| rows::pushed(row))?;
    let sql = include_str!("statements/select_refreshes.sql");
    let refreshes = select(connection, sql, bounds, |row| rows::refresh(row))?;
    let members = members_of(connection, &recipients::conversations(&messages))?;
    recipients::pushes(messages, refreshes, members, limit)
}
