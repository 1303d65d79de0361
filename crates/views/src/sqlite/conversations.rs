//! Conversations and their members.

use std::collections::HashMap;

use rusqlite::{Connection, Row, params};
use verbatim_domain::{ConversationId, UserId};
use verbatim_protocol::JournalId;
use verbatim_protocol::client::{Conversation, Page};
use verbatim_sqlite::select;

use super::rows::first;
use crate::lists::Start;
use crate::rows::{self, MembersByKey, kind, number, word};
use crate::{Error, Members, PageRequest};

pub(super) fn one(
    connection: &Connection,
    reader: &UserId,
    id: &ConversationId,
) -> Result<Option<Conversation>, Error> {
    let sql = include_str!("statements/select_conversation.sql");
    let bounds = params![reader.as_str(), id.as_str()];
    let Some(found) = first(connection, sql, bounds, |row| rows::conversation(row))? else {
        return Ok(None);
    };
    let members = members_of(connection, &[found.key])?;
    Ok(Some(found.with(&members)))
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
    let mut found = select(connection, sql, bounds, |row| rows::conversation(row))?;
    let next_cursor = start.cut(&mut found, journal, |found| found.last_position);
    let keys: Vec<u64> = found.iter().map(|found| found.key).collect();
    let members = members_of(connection, &keys)?;
    let data = found.into_iter().map(|found| found.with(&members)).collect();
    Ok(Page { data, next_cursor })
}

/// The members of the conversations with these keys.
pub(super) fn members_of(connection: &Connection, keys: &[u64]) -> Result<MembersByKey, Error> {
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let wanted = serde_json::to_string(keys).map_err(super::store::unavailable)?;
    let sql = include_str!("statements/select_members.sql");
    Ok(rows::by_key(select(connection, sql, [wanted], |row| rows::member(row))?))
}

pub(super) fn members(
    connection: &Connection,
    ids: Vec<ConversationId>,
) -> Result<HashMap<ConversationId, Members>, Error> {
    let sql = "select key, kind from conversations where id = ?";
    let mut kinds = Vec::with_capacity(ids.len());
    for id in ids {
        let read = |row: &Row<'_>| Ok((number(row, 0)?, kind(word(row, 1)?)?));
        if let Some((key, kind)) = first(connection, sql, [id.as_str()], read)? {
            kinds.push((key, id, kind));
        }
    }
    let keys: Vec<_> = kinds.iter().map(|(key, ..)| *key).collect();
    Ok(rows::with_kinds(kinds, members_of(connection, &keys)?))
}

pub(super) fn is_member(
    connection: &Connection,
    id: &ConversationId,
    user: &UserId,
) -> Result<Option<bool>, Error> {
    let sql = include_str!("statements/select_membership.sql");
    let bounds = params![id.as_str(), user.as_str()];
    first(connection, sql, bounds, |row| Ok(number(row, 0)? != 0))
}
