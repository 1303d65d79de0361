//! What is pushed, to one user or to all.

use sqlx::SqlitePool;
use verbatim_domain::UserId;
use verbatim_protocol::{List, MessagePush, Push, Refresh};

use super::conversations::members_of;
use super::rows::{self, column, failed, number, parsed};
use crate::recipients::Recipients;
use crate::{Error, StreamMessage};

pub(super) async fn of_user(
    pool: &SqlitePool,
    user: &UserId,
    after: u64,
    through: u64,
    limit: u32,
) -> Result<Vec<StreamMessage>, Error> {
    let found = sqlx::query(include_str!("statements/select_stream.sql"))
        .bind(user.as_str())
        .bind(signed(after))
        .bind(signed(through))
        .bind(i64::from(limit))
        .fetch_all(pool)
        .await
        .map_err(failed)?;
    found.iter().map(|row| rows::message(row, 0)).collect()
}

pub(super) async fn pushes(
    pool: &SqlitePool,
    after: u64,
    through: u64,
    limit: u32,
) -> Result<Vec<Push>, Error> {
    let bounds = |statement| {
        sqlx::query(statement).bind(signed(after)).bind(signed(through)).bind(i64::from(limit))
    };
    let messages = bounds(include_str!("statements/select_pushed_messages.sql"))
        .fetch_all(pool)
        .await
        .map_err(failed)?;
    let refreshes = bounds(include_str!("statements/select_refreshes.sql"))
        .fetch_all(pool)
        .await
        .map_err(failed)?;
    let mut pushes = Vec::with_capacity(messages.len() + refreshes.len());
    for row in &refreshes {
        pushes.push(Push::Refresh(Refresh {
            position: number(row, 0)?,
            list: list(column(row, 1)?)?,
            user_id: parsed(row, 2)?,
        }));
    }
    let keys: Vec<u64> = messages.iter().map(|row| number(row, 11)).collect::<Result<_, _>>()?;
    let mut distinct = keys.clone();
    distinct.sort_unstable();
    distinct.dedup();
    let members = members_of(pool, &distinct).await?;
    let mut recipients = Recipients::new(members);
    for (row, key) in messages.iter().zip(keys) {
        let StreamMessage { position, message } = rows::message(row, 0)?;
        let json = serde_json::to_string(&message).map_err(super::store::unavailable)?;
        pushes.push(Push::Message(MessagePush {
            position,
            message_id: message.id,
            conversation_id: message.conversation_id,
            sender_id: message.sender_id,
            recipients: recipients.at(key, position),
            message: json.into(),
        }));
    }
    pushes.sort_unstable_by_key(Push::position);
    pushes.truncate(limit as usize);
    Ok(pushes)
}

fn list(name: &str) -> Result<List, Error> {
    match name {
        "conversations" => Ok(List::Conversations),
        "notifications" => Ok(List::Notifications),
        other => Err(Error::Corrupt(format!("a push of the list {other:?}"))),
    }
}

/// A position as a column holds it; greater ones than any are the greatest.
fn signed(position: u64) -> i64 {
    i64::try_from(position).unwrap_or(i64::MAX)
}
