//! Messages of a conversation, and single ones.

use sqlx::SqlitePool;
use verbatim_domain::{ConversationId, MessageId};
use verbatim_protocol::JournalId;
use verbatim_protocol::client::{Message, Page};

use super::rows::failed;
use crate::rows::{self, number};
use crate::window::Window;
use crate::{Error, MessageRange, StreamMessage};

pub(super) async fn list(
    pool: &SqlitePool,
    journal: JournalId,
    id: &ConversationId,
    range: &MessageRange,
) -> Result<Page<Message>, Error> {
    let row = sqlx::query("select key, last_sequence from conversations where id = ?")
        .bind(id.as_str())
        .fetch_optional(pool)
        .await
        .map_err(failed)?;
    let (key, newest) = match row {
        Some(row) => (number(&row, 0)?, number(&row, 1)?),
        None => (0, 0),
    };
    let mut range = range.clone();
    range.page.limit = crate::clamp(range.page.limit);
    let Window { first, last, next_cursor } = Window::of(&range, journal, key, newest)?;
    if last < first {
        return Ok(Page { data: Vec::new(), next_cursor });
    }
    let found = sqlx::query(include_str!("statements/select_messages.sql"))
        .bind(key as i64)
        .bind(first as i64)
        .bind(last as i64)
        .fetch_all(pool)
        .await
        .map_err(failed)?;
    let data = found
        .iter()
        .map(|row| rows::message(row, 0).map(|found| found.message))
        .collect::<Result<_, _>>()?;
    Ok(Page { data, next_cursor })
}

pub(super) async fn one(pool: &SqlitePool, id: MessageId) -> Result<Option<StreamMessage>, Error> {
    sqlx::query(include_str!("statements/select_message.sql"))
        .bind(&id.0.as_bytes()[..])
        .fetch_optional(pool)
        .await
        .map_err(failed)?
        .map(|row| rows::message(&row, 0))
        .transpose()
}
