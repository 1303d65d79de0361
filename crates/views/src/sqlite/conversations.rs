//! Conversations and their members.

use std::collections::HashMap;

use sqlx::SqlitePool;
use sqlx::sqlite::SqliteRow;
use verbatim_domain::conversation::ConversationKind;
use verbatim_domain::{ConversationId, UserId};
use verbatim_protocol::JournalId;
use verbatim_protocol::client::{Conversation, Page};

use super::rows::{self, column, failed, number, parsed, time};
use crate::cursor::{self, List};
use crate::{Error, Member, Members, PageRequest};

/// The members of conversations, by key, each in the order in which they joined.
pub(super) type MembersByKey = HashMap<u64, Vec<Member>>;

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
    conversation(&row, &members).map(Some)
}

pub(super) async fn list(
    pool: &SqlitePool,
    journal: JournalId,
    reader: &UserId,
    page: &PageRequest,
) -> Result<Page<Conversation>, Error> {
    let below = match &page.cursor {
        None => i64::MAX as u64,
        Some(text) => match cursor::decode(text, journal)? {
            (List::Conversations, [below]) => below,
            _ => return Err(Error::BadCursor),
        },
    };
    let limit = crate::clamp(page.limit);
    // One more than the page tells whether another follows.
    let mut found = sqlx::query(include_str!("statements/select_conversations.sql"))
        .bind(reader.as_str())
        .bind(below as i64)
        .bind(i64::from(limit) + 1)
        .fetch_all(pool)
        .await
        .map_err(failed)?;
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let next_cursor = match found.last() {
        Some(row) if more => Some(cursor::encode(List::Conversations, journal, [number(row, 7)?])),
        _ => None,
    };
    let keys: Vec<u64> = found.iter().map(|row| number(row, 0)).collect::<Result<_, _>>()?;
    let members = members_of(pool, &keys).await?;
    let data = found.iter().map(|row| conversation(row, &members)).collect::<Result<_, _>>()?;
    Ok(Page { data, next_cursor })
}

fn conversation(row: &SqliteRow, members: &MembersByKey) -> Result<Conversation, Error> {
    let members = members.get(&number(row, 0)?).map_or(&[][..], Vec::as_slice);
    let last: Option<i64> = column(row, 9)?;
    Ok(Conversation {
        id: parsed(row, 1)?,
        kind: kind(column(row, 2)?)?,
        title: column(row, 3)?,
        member_ids: members.iter().map(|member| member.user_id.clone()).collect(),
        created_by: parsed(row, 4)?,
        last_message: last.map(|_| rows::message(row, 9)).transpose()?.map(|last| last.message),
        unread_count: number(row, 8)?,
        created_at: time(row, 5)?,
        updated_at: time(row, 6)?,
    })
}

fn kind(name: &str) -> Result<ConversationKind, Error> {
    [ConversationKind::Direct, ConversationKind::Group]
        .into_iter()
        .find(|kind| kind.as_str() == name)
        .ok_or_else(|| Error::Corrupt(format!("a conversation of kind {name:?}")))
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
    let mut members = MembersByKey::with_capacity(keys.len());
    for row in &found {
        let member = Member { user_id: parsed(row, 1)?, joined_position: number(row, 2)? };
        members.entry(number(row, 0)?).or_default().push(member);
    }
    Ok(members)
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
    Ok(Some(Members { kind: kind(column(&row, 1)?)?, members }))
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
