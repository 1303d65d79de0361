//! Conversations and their members.

use std::collections::HashMap;

use rusqlite::{Connection, params};
use verbatim_domain::{ConversationId, UserId};
use verbatim_protocol::JournalId;
use verbatim_protocol::client::{Conversation, Page};

use super::rows::select;
use crate::lists::Start;
use crate::rows::{self, MembersByKey, kind, number, word};
use crate::{Error, Members, PageRequest};

pub(super) fn one(
    connection: &Connection,
    reader: &UserId,
    id: &ConversationId,
) -> Result<Option<Conversation>, Error> {
    let sql = include_str!("statements/select_conversation.sql");
    let mut found = select(connection, sql, params![reader.as_str(), id.as_str()])?;
    let Some(row) = found.pop() else { return Ok(None) };
    let members = members_of(connection, &[number(&row, 0)?])?;
    rows::conversation(&row, &members).map(Some)
}

pub(super) fn list(
    connection: &Connection,
    journal: JournalId,
    reader: &UserId,
    page: &PageRequest,
) -> Result<Page<Conversation>, Error> {
    let start = Start::of_conversations(page, journal)?;
    let sql = include_str!("statements/select_conversations.sql");
    let bounds = params![reader.as_str(), start.below as i64, start.rows()];
    let mut found = select(connection, sql, bounds)?;
    let next_cursor = start.cut(&mut found, journal, |row| number(row, 7))?;
    let keys: Vec<u64> = found.iter().map(|row| number(row, 0)).collect::<Result<_, _>>()?;
    let members = members_of(connection, &keys)?;
    let data =
        found.iter().map(|row| rows::conversation(row, &members)).collect::<Result<_, _>>()?;
    Ok(Page { data, next_cursor })
}

/// The members of the conversations with these keys.
pub(super) fn members_of(connection: &Connection, keys: &[u64]) -> Result<MembersByKey, Error> {
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let wanted = serde_json::to_string(keys).map_err(super::store::unavailable)?;
    rows::members(&select(connection, include_str!("statements/select_members.sql"), [wanted])?)
}

pub(super) fn members(
    connection: &Connection,
    id: &ConversationId,
) -> Result<Option<Members>, Error> {
    let sql = "select key, kind from conversations where id = ?";
    let Some(row) = select(connection, sql, [id.as_str()])?.pop() else { return Ok(None) };
    let key = number(&row, 0)?;
    let members = members_of(connection, &[key])?.remove(&key).unwrap_or_default();
    Ok(Some(Members { kind: kind(word(&row, 1)?)?, members }))
}

pub(super) fn is_member(
    connection: &Connection,
    id: &ConversationId,
    user: &UserId,
) -> Result<Option<bool>, Error> {
    let sql = include_str!("statements/select_membership.sql");
    let found = select(connection, sql, params![id.as_str(), user.as_str()])?;
    found.first().map(|row| Ok(number(row, 0)? != 0)).transpose()
}
