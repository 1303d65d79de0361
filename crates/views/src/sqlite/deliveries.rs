//! What reached whom.

use sqlx::SqlitePool;
use verbatim_domain::{ConversationId, MessageId, UserId};
use verbatim_protocol::client::Delivery;

use super::rows::failed;
use crate::Error;
use crate::rows::{delivery, number};

/// The user's delivered mark.
pub(super) async fn through(pool: &SqlitePool, user: &UserId) -> Result<u64, Error> {
    let row = sqlx::query("select coalesce(max(through), 0) from deliveries where user_id = ?")
        .bind(user.as_str())
        .fetch_one(pool)
        .await
        .map_err(failed)?;
    number(&row, 0)
}

pub(super) async fn of_message(
    pool: &SqlitePool,
    id: MessageId,
) -> Result<Option<(ConversationId, Vec<Delivery>)>, Error> {
    let Some(found) = super::messages::one(pool, id).await? else { return Ok(None) };
    let rows = sqlx::query(include_str!("statements/select_deliveries.sql"))
        .bind(found.position as i64)
        .fetch_all(pool)
        .await
        .map_err(failed)?;
    let deliveries = rows.iter().map(delivery).collect::<Result<_, _>>()?;
    Ok(Some((found.message.conversation_id, deliveries)))
}
