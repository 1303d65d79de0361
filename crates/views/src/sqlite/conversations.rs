//! Conversations and their members.

use std::collections::HashMap;

use sqlx::SqlitePool;
use verbatim_domain::{ConversationId, UserId};
use verbatim_protocol::JournalId;
use verbatim_protocol::client::{Conversation, Page};

use super::rows::{column, failed};
use crate::lists::Start;
use crate::rows::{self, MembersByKey, kind, number, word};
use crate::{Error, Members, PageRequest};

pub(super) async fn one(
    pool: &SqlitePool,
    reader: &UserId,
    id: &ConversationId,
) -> Result<Option<Conversation>, Error> {
    let row = sqlx::query(include_str!("statements/select_conversation.sql"))
        .bind(reader.as_str())
        .bind(id.as_str())
        .fetch_optional(pool)
        .await
        .map_err(failed)?;
    let Some(row) = row else { return Ok(None) };
    let members = members_of(pool, &[number(&row, 0)?]).await?;
    rows::conversation(&row, &members).map(Some)
}

pub(super) async fn list(
    pool: &SqlitePool,
    journal: JournalId,
    reader: &UserId,
    page: &PageRequest,
) -> Result<Page<Conversation>, Error> {
    let start = Start::of_conversations(page, journal)?;
    let mut found = sqlx::query(include_str!("statements/select_conversations.sql"))
        .bind(reader.as_str())
        .bind(start.below as i64)
        .bind(start.rows())
        .fetch_all(pool)
        .await
        .map_err(failed)?;
    let next_cursor = start.cut(&mut found, journal, |row| number(row, 7))?;
    let keys: Vec<u64> = found.iter().map(|row| number(row, 0)).collect::<Result<_, _>>()?;
    let members = members_of(pool, &keys).await?;
    let data =
        found.iter().map(|row| rows::conversation(row, &members)).collect::<Result<_, _>>()?;
    Ok(Page { data, next_cursor })
}

/// The members of the conversations with these keys.
pub(super) async fn members_of(pool: &SqlitePool, keys: &[u64]) -> Result<MembersByKey, Error> {
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let wanted = serde_json::to_string(keys).map_err(super::store::unavailable)?;
    let found = sqlx::query(include_str!("statements/select_members.sql"))
        .bind(wanted)
        .fetch_all(pool)
        .await
        .map_err(failed)?;
    rows::members(&found)
}

pub(super) async fn members(
    pool: &SqlitePool,
    id: &ConversationId,
) -> Result<Option<Members>, Error> {
    let row = sqlx::query("select key, kind from conversations where id = ?")
        .bind(id.as_str())
        .fetch_optional(pool)
        .await
        .map_err(failed)?;
    let Some(row) = row else { return Ok(None) };
    let key = number(&row, 0)?;
    let members = members_of(pool, &[key]).await?.remove(&key).unwrap_or_default();
    Ok(Some(Members { kind: kind(word(&row, 1)?)?, members }))
}

pub(super) async fn is_member(
    pool: &SqlitePool,
    id: &ConversationId,
    user: &UserId,
) -> Result<Option<bool>, Error> {
    sqlx::query(include_str!("statements/select_membership.sql"))
        .bind(id.as_str())
        .bind(user.as_str())
        .fetch_optional(pool)
        .await
        .map_err(failed)?
        .map(|row| column(&row, 0))
        .transpose()
}
