//! The views in use held against rebuilt ones, in one connection that reads both files.

use std::fmt::Write;
use std::sync::Arc;

use async_trait::async_trait;
use futures::TryStreamExt;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Connection, Row};
use tokio::sync::mpsc;
use verbatim_protocol::Recorded;

use super::SqliteViews;
use super::rows::failed;
use super::store::{Store, closed};
use crate::difference::{Column, TABLES, told};
use crate::{Comparison, Difference, Error};

/// What the index of messages by sequence holds, its key first: an entry is in one of its parts.
const INDEX: [&str; 4] = ["conversation", "sequence", "sender", "position"];

pub(super) struct SqliteComparison {
    reader: SqliteConnection,
    rebuilt: Store,
    checkpoint: u64,
}

impl SqliteComparison {
    /// The transaction shows the views in use as of its first read, and the rebuilt ones as of the
    /// first read of those, which comes later.
    pub async fn begin(live: &SqliteViews, rebuilt: &Store) -> Result<Self, Error> {
        let path = super::rebuild::path_of(&live.path);
        let slot = live.store.slot.read().await;
        let database = slot.as_ref().ok_or_else(closed)?;
        let mut reader = database.reader_beside("rebuilt", &path).await.map_err(failed)?;
        drop(slot);
        begin_reading(&mut reader).await?;
        let sql = "select checkpoint from main.source";
        let checkpoint: i64 =
            sqlx::query_scalar(sql).fetch_one(&mut reader).await.map_err(failed)?;
        let checkpoint = u64::try_from(checkpoint)
            .map_err(|_| Error::Corrupt(format!("the checkpoint is {checkpoint}")))?;
        if checkpoint < rebuilt.checkpoint() {
            return Err(Error::Behind);
        }
        Ok(Self { reader, rebuilt: rebuilt.clone(), checkpoint })
    }

    /// The rows of a table that differ.
    async fn table(
        &mut self,
        table: &str,
        keys: &[&str],
        tell: &mpsc::Sender<Difference>,
    ) -> Result<(), Error> {
        let names: Vec<String> =
            sqlx::query_scalar("select name from pragma_table_info(?) order by cid")
                .bind(table)
                .fetch_all(&mut self.reader)
                .await
                .map_err(failed)?;
        let sql = compared(table, keys, &names);
        let mut rows = sqlx::query(&sql).fetch(&mut self.reader);
        while let Some(row) = rows.try_next().await.map_err(failed)? {
            let columns = columns(&row, &names).map_err(failed)?;
            told(tell, Difference::of(table, keys, &columns)).await?;
        }
        Ok(())
    }

    /// The entries of the index that only one of the two has.
    async fn index(&mut self, tell: &mpsc::Sender<Difference>) -> Result<(), Error> {
        for (one, other, is_live) in [("main", "rebuilt", true), ("rebuilt", "main", false)] {
            let entries = |of: &str| {
                let names = INDEX.join(", ");
                format!(
                    "select {names} from (select * from {of}.recent_index \
                     union all select * from {of}.folded_index)"
                )
            };
            let sql = format!("{} except {}", entries(one), entries(other));
            let mut rows = sqlx::query(&sql).fetch(&mut self.reader);
            while let Some(row) = rows.try_next().await.map_err(failed)? {
                let column = |(place, name): (usize, &&str)| {
                    let value = Some(row.try_get::<i64, _>(place)?.to_string());
                    let (live, rebuilt) = if is_live { (value, None) } else { (None, value) };
                    Ok(Column { name: (*name).to_owned(), live, rebuilt })
                };
                let columns: Result<Vec<_>, sqlx::Error> =
                    INDEX.iter().enumerate().map(column).collect();
                told(tell, Difference::of("message index", &INDEX[..2], &columns.map_err(failed)?))
                    .await?;
            }
        }
        Ok(())
    }
}

async fn begin_reading(reader: &mut SqliteConnection) -> Result<(), Error> {
    sqlx::query("begin").execute(reader).await.map(drop).map_err(failed)
}

/// Reads the rows of a table that differ: for each column the one value and the other, as `SQLite`
/// would write them down.
fn compared(table: &str, keys: &[&str], names: &[String]) -> String {
    let each =
        |of: &str| names.iter().map(|name| format!("{of}.{name}")).collect::<Vec<_>>().join(", ");
    let mut sql = format!("select live.{0} is not null, fresh.{0} is not null", keys[0]);
    for name in names {
        let _ = write!(sql, ", quote(live.{name}), quote(fresh.{name})");
    }
    let same: Vec<_> = keys.iter().map(|key| format!("live.{key} = fresh.{key}")).collect();
    let _ = write!(
        sql,
        " from main.{table} as live full join rebuilt.{table} as fresh on {} where ({}) is not ({})",
        same.join(" and "),
        each("live"),
        each("fresh"),
    );
    sql
}

fn columns(row: &SqliteRow, names: &[String]) -> Result<Vec<Column>, sqlx::Error> {
    let (is_live, is_rebuilt): (bool, bool) = (row.try_get(0)?, row.try_get(1)?);
    let value = |place: usize, is_there: bool| {
        let value: String = row.try_get(place)?;
        Ok::<_, sqlx::Error>(is_there.then_some(value))
    };
    let column = |(n, name): (usize, &String)| {
        Ok(Column {
            name: name.clone(),
            live: value(2 + 2 * n, is_live)?,
            rebuilt: value(3 + 2 * n, is_rebuilt)?,
        })
    };
    names.iter().enumerate().map(column).collect()
}

#[async_trait]
impl Comparison for SqliteComparison {
    fn checkpoint(&self) -> u64 {
        self.checkpoint
    }

    async fn apply(&mut self, events: &[Arc<Recorded>]) -> Result<(), Error> {
        self.rebuilt.apply(events).await
    }

    async fn differences(
        mut self: Box<Self>,
        tell: &mpsc::Sender<Difference>,
    ) -> Result<(), Error> {
        for (table, keys) in TABLES {
            self.table(table, keys, tell).await?;
        }
        self.index(tell).await?;
        // An exchange of the views needs the file for itself.
        self.reader.close().await.map_err(failed)
    }
}
