//! Commands that were set aside, for operators to look at.

use sqlx::Row;
use sqlx::postgres::PgRow;
use verbatim_protocol::{LaneCursor, Timestamp};

use super::{Failed, PostgresJournal, bounded, lanes};
use crate::{DeadLetter, Error};

/// A dead letter as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// Grows, with gaps.
    pub id: i64,
    pub lane: u16,
    pub letter: DeadLetter,
    pub set_aside_at: Timestamp,
    /// How far its lane had come once it was set aside.
    pub cursor: Option<LaneCursor>,
}

impl PostgresJournal {
    /// Up to `limit` dead letters with ids above `after`, ascending.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn dead_letters(&self, after: i64, limit: usize) -> Result<Vec<SetAside>, Error> {
        let query =
            sqlx::query(include_str!("read_dead_letters.sql")).bind(after).bind(bounded(limit));
        let rows = self.database.run(|connection| Box::pin(query.fetch_all(connection))).await?;
        let letters = rows.iter().map(set_aside).collect::<Result<_, _>>();
        Ok(letters.map_err(Failed::from)?)
    }

    /// Forgets a dead letter; `false` if there is none of that id.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn remove_dead_letter(&self, id: i64) -> Result<bool, Error> {
        let query = sqlx::query("delete from journal.dead_letters where id = $1").bind(id);
        let done =
            self.database.run_to_end(|connection| Box::pin(query.execute(connection))).await?;
        Ok(done.rows_affected() > 0)
    }

    /// How many dead letters there are.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn count_dead_letters(&self) -> Result<u64, Error> {
        let count: i64 = self
            .database
            .run(|connection| {
                let sql = "select count(*) from journal.dead_letters";
                Box::pin(sqlx::query_scalar(sql).fetch_one(connection))
            })
            .await?;
        Ok(count as u64)
    }
}

fn set_aside(row: &PgRow) -> Result<SetAside, sqlx::Error> {
    let lane: i32 = row.try_get(1)?;
    Ok(SetAside {
        id: row.try_get(0)?,
        lane: lane as u16,
        letter: DeadLetter { command: row.try_get(2)?, reason: row.try_get(3)? },
        set_aside_at: Timestamp(row.try_get(4)?),
        cursor: lanes::cursor(row, 5)?,
    })
}
