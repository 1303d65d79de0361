//! The seal in one `SQLite` file.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::{Connection, TransactionBehavior, params};
use sqlx::SqlitePool;
use verbatim_proof::{Tile, TileId};
use verbatim_protocol::JournalId;
use verbatim_sqlite::{Database, Durability};

use crate::store::{bounded, failed, signed};
use crate::{Error, NewCheckpoint, Signed, Store};

/// Connections that read.
const READERS: u32 = 2;

const MIGRATIONS: [(&str, &str); 1] =
    [("create seal", include_str!("../../../migrations/sqlite/seal/0001_create_seal.sql"))];

/// The seal in one file. Of all who have it open one can write.
#[derive(Debug)]
pub struct SqliteSeal {
    readers: SqlitePool,
    writer: Option<Arc<Database>>,
}

impl SqliteSeal {
    /// Opens the file, or makes it, for the process that has it for itself.
    ///
    /// # Errors
    /// [`Error::Unavailable`], also when a newer version made the file.
    pub async fn open(path: &Path) -> Result<Self, Error> {
        let database =
            Database::open(path, Durability::Full, READERS, &MIGRATIONS).await.map_err(failed)?;
        Ok(Self { readers: database.readers().clone(), writer: Some(Arc::new(database)) })
    }

    /// Opens the file for reading alone, beside the process that writes it.
    ///
    /// # Errors
    /// [`Error::Unavailable`], also when there is no such file, or another version made it.
    pub async fn open_reader(path: &Path) -> Result<Self, Error> {
        let readers =
            verbatim_sqlite::open_reader(path, READERS, &MIGRATIONS).await.map_err(failed)?;
        Ok(Self { readers, writer: None })
    }

    /// Folds the write-ahead log into the file. Call when nothing is sealed any more.
    ///
    /// # Errors
    /// The last checkpoint's; nothing sealed is lost.
    pub async fn close(&self) -> Result<(), Error> {
        match &self.writer {
            Some(writer) => writer.fold().await.map_err(failed),
            None => Ok(()),
        }
    }

    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, rusqlite::Error> + Send + 'static,
    ) -> Result<T, Error> {
        let Some(writer) = &self.writer else {
            return Err(Error::Unavailable("the seal is open for reading alone".into()));
        };
        writer.write(work).await.map_err(failed)?.map_err(failed)
    }
}

const CHECKPOINT: &str = "select id, log, number, size, signed_at, note from checkpoints";

/// Whether it was added.
fn add(
    connection: &mut Connection,
    log: &str,
    checkpoint: &NewCheckpoint,
) -> Result<bool, rusqlite::Error> {
    let NewCheckpoint { number, size, signed_at, note, verifier, tiles } = checkpoint;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let added = transaction.execute(
        include_str!("sqlite/add_checkpoint.sql"),
        params![log, *number as i64, *size as i64, signed_at.0, note],
    )?;
    if added == 0 {
        return Ok(false);
    }
    transaction.execute(
        "insert into verifiers (log, verifier) values (?, ?) on conflict do nothing",
        params![log, verifier],
    )?;
    let mut put = transaction.prepare_cached(include_str!("sqlite/put_tile.sql"))?;
    for Tile { id, hashes } in tiles {
        put.execute(params![log, id.level, id.index as i64, hashes])?;
    }
    drop(put);
    transaction.commit()?;
    Ok(true)
}

#[async_trait]
impl Store for SqliteSeal {
    async fn add(&self, log: JournalId, checkpoint: NewCheckpoint) -> Result<(), Error> {
        let log = log.to_string();
        let added = self.write(move |connection| add(connection, &log, &checkpoint)).await?;
        if added { Ok(()) } else { Err(Error::Moved) }
    }

    async fn latest(&self, log: JournalId) -> Result<Option<Signed>, Error> {
        let sql = format!("{CHECKPOINT} where log = ? order by number desc limit 1");
        let query = sqlx::query_as(&sql).bind(log.to_string());
        let row = query.fetch_optional(&self.readers).await.map_err(failed)?;
        row.map(signed).transpose()
    }

    async fn of_size(&self, log: JournalId, size: u64) -> Result<Option<Signed>, Error> {
        let sql = format!("{CHECKPOINT} where log = ? and size = ?");
        let query = sqlx::query_as(&sql).bind(log.to_string()).bind(bounded(size));
        let row = query.fetch_optional(&self.readers).await.map_err(failed)?;
        row.map(signed).transpose()
    }

    async fn after(&self, log: JournalId, number: u64, limit: usize) -> Result<Vec<Signed>, Error> {
        let sql = format!("{CHECKPOINT} where log = ? and number > ? order by number limit ?");
        let query =
            sqlx::query_as(&sql).bind(log.to_string()).bind(bounded(number)).bind(limit as i64);
        let rows = query.fetch_all(&self.readers).await.map_err(failed)?;
        rows.into_iter().map(signed).collect()
    }

    async fn before(&self, id: u64, limit: usize) -> Result<Vec<Signed>, Error> {
        let sql = format!("{CHECKPOINT} where id < ? order by id desc limit ?");
        let query = sqlx::query_as(&sql).bind(bounded(id)).bind(limit as i64);
        let rows = query.fetch_all(&self.readers).await.map_err(failed)?;
        rows.into_iter().map(signed).collect()
    }

    async fn tiles(&self, log: JournalId, ids: &[TileId]) -> Result<Vec<Tile>, Error> {
        let log = log.to_string();
        let mut tiles = Vec::with_capacity(ids.len());
        for id in ids {
            let sql = "select hashes from tiles where log = ? and level = ? and tile_index = ?";
            let query = sqlx::query_scalar(sql).bind(&log).bind(id.level).bind(bounded(id.index));
            let hashes = query.fetch_optional(&self.readers).await.map_err(failed)?;
            tiles.extend(hashes.map(|hashes| Tile { id: *id, hashes }));
        }
        Ok(tiles)
    }

    async fn verifiers(&self, log: JournalId) -> Result<Vec<String>, Error> {
        sqlx::query_scalar("select verifier from verifiers where log = ? order by verifier")
            .bind(log.to_string())
            .fetch_all(&self.readers)
            .await
            .map_err(failed)
    }

    async fn published(&self, log: JournalId, destination: &str) -> Result<Option<u64>, Error> {
        let number: Option<i64> =
            sqlx::query_scalar("select number from published where log = ? and destination = ?")
                .bind(log.to_string())
                .bind(destination)
                .fetch_optional(&self.readers)
                .await
                .map_err(failed)?;
        Ok(number.map(|number| number as u64))
    }

    async fn set_published(
        &self,
        log: JournalId,
        destination: &str,
        number: u64,
    ) -> Result<(), Error> {
        let (log, destination) = (log.to_string(), destination.to_owned());
        self.write(move |connection| {
            let sql =
                "insert or replace into published (log, destination, number) values (?, ?, ?)";
            connection.execute(sql, params![log, destination, number as i64]).map(drop)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::conformance::Place;

    struct Folder(TempDir);

    impl Place for Folder {
        type Store = SqliteSeal;

        async fn new() -> Self {
            Self(tempfile::tempdir().expect("a folder"))
        }

        async fn open(&self) -> SqliteSeal {
            SqliteSeal::open(&self.0.path().join("seal.sqlite")).await.expect("it opens")
        }
    }

    crate::conformance_tests!(Folder);

    #[tokio::test]
    async fn a_reader_sees_what_the_writer_adds_and_writes_nothing() {
        let folder = Folder::new().await;
        let path = folder.0.path().join("seal.sqlite");
        assert!(matches!(SqliteSeal::open_reader(&path).await, Err(Error::Unavailable(_))));
        let store = folder.open().await;
        let reader = SqliteSeal::open_reader(&path).await.expect("it opens");
        let log = crate::conformance::log(1);
        store.add(log, crate::conformance::checkpoint(1, 3)).await.expect("added");
        assert_eq!(reader.latest(log).await.expect("an answer").map(|last| last.size), Some(3));
        let refused = reader.add(log, crate::conformance::checkpoint(2, 4)).await;
        assert!(matches!(refused, Err(Error::Unavailable(_))));
    }

    #[tokio::test]
    async fn checkpoints_can_be_neither_changed_nor_removed() {
        let folder = Folder::new().await;
        let store = folder.open().await;
        store
            .add(crate::conformance::log(1), crate::conformance::checkpoint(1, 3))
            .await
            .expect("added");
        for sql in ["update checkpoints set size = 4", "delete from checkpoints"] {
            let refused = store.write(move |connection| connection.execute(sql, [])).await;
            assert!(refused.expect_err("never").to_string().contains("never"), "{sql}");
        }
    }
}
