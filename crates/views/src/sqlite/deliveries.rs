//! What reached whom.

use sqlx::SqlitePool;
use sqlx::sqlite::SqliteRow;
use verbatim_domain::{ConversationId, MessageId, UserId};
use verbatim_protocol::Timestamp;
use verbatim_protocol::client::{Delivery, DeliveryStatus};

use super::rows::{column, failed, number, parsed, time};
use crate::Error;

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

fn delivery(row: &SqliteRow) -> Result<Delivery, Error> {
    let delivered: Option<i64> = column(row, 1)?;
    let notified: Option<i64> = column(row, 2)?;
    let (status, updated_at) = match (delivered, notified) {
        (Some(at), _) => (DeliveryStatus::Delivered, Timestamp(at)),
        (None, Some(at)) => (DeliveryStatus::Offline, Timestamp(at)),
        (None, None) => (DeliveryStatus::Pending, time(row, 3)?),
    };
    Ok(Delivery { user_id: parsed(row, 0)?, status, updated_at })
}
