//! What is pushed, to one user or to all.

use sqlx::SqlitePool;
use verbatim_domain::UserId;
use verbatim_protocol::Push;

use super::conversations::members_of;
use super::rows::failed;
use crate::rows::{self, signed};
use crate::{Error, StreamMessage, recipients};

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
    let members = members_of(pool, &recipients::conversations(&messages)?).await?;
    recipients::pushes(&messages, &refreshes, members, limit)
}
