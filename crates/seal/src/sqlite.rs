//! The seal in one `SQLite` file.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Params, TransactionBehavior, params};
use verbatim_proof::{Tile, TileId};
use verbatim_protocol::JournalId;
use verbatim_sqlite::{Database, Durability, ReadError, Readers};

use crate::store::{bounded, failed, signed};
use crate::{Error, NewCheckpoint, Signed, Store};

/// Connections that read.
const READERS: u32 = 2;

const MIGRATIONS: [(&str, &str); 1] =
    [("create seal", include_str!("../../../migrations/sqlite/seal/0001_create_seal.sql"))];

/// The seal in one file. Of all who have it open one can write.
#[derive(Debug)]
pub struct SqliteSeal {
    readers: Readers,
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
    pub fn open_reader(path: &Path) -> Result<Self, Error> {
        let readers = Readers::of_version(path, READERS, &MIGRATIONS).map_err(failed)?;
        Ok(Self { readers, writer: None })
    }

    /// Has what is written leave the processors to others: nobody waits for it.
    ///
    /// # Errors
    /// [`Error::Unavailable`] once it is closed.
    pub async fn yield_to_others(&self) -> Result<(), Error> {
        match &self.writer {
            Some(writer) => writer.yield_to_others().await.map_err(failed),
            None => Ok(()),
        }
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

    /// The checkpoints that are left by what follows `from checkpoints`.
    async fn checkpoints(
        &self,
        rest: &str,
        params: impl Params + Send + 'static,
    ) -> Result<Vec<Signed>, Error> {
        let sql = format!("select id, log, number, size, signed_at, note from checkpoints {rest}");
        let found = self.readers.rows(sql, params, |row| row.try_into()).await;
        found.map_err(failed)?.into_iter().map(signed).collect()
    }
}

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
        let rest = "where log = ? order by number desc limit 1";
        Ok(self.checkpoints(rest, [log.to_string()]).await?.pop())
    }

    async fn of_size(&self, log: JournalId, size: u64) -> Result<Option<Signed>, Error> {
        let rest = "where log = ? and size = ?";
        Ok(self.checkpoints(rest, (log.to_string(), bounded(size))).await?.pop())
    }

    async fn after(&self, log: JournalId, number: u64, limit: usize) -> Result<Vec<Signed>, Error> {
        let rest = "where log = ? and number > ? order by number limit ?";
        self.checkpoints(rest, (log.to_string(), bounded(number), limit as i64)).await
    }

    async fn before(&self, id: u64, limit: usize) -> Result<Vec<Signed>, Error> {
        let rest = "where id < ? order by id desc limit ?";
        self.checkpoints(rest, (bounded(id), limit as i64)).await
    }

    async fn tiles(&self, log: JournalId, ids: &[TileId]) -> Result<Vec<Tile>, Error> {
        let (log, ids) = (log.to_string(), ids.to_vec());
        let reading = self.readers.read(move |connection| {
            let sql = "select hashes from tiles where log = ? and level = ? and tile_index = ?";
            let mut select = connection.prepare_cached(sql)?;
            let mut tiles = Vec::with_capacity(ids.len());
            for id in ids {
                let key = params![log, id.level, bounded(id.index)];
                let hashes = select.query_row(key, |row| row.get(0)).optional()?;
                tiles.extend(hashes.map(|hashes| Tile { id, hashes }));
            }
            Ok::<_, ReadError>(tiles)
        });
        reading.await.map_err(failed)
    }

    async fn verifiers(&self, log: JournalId) -> Result<Vec<String>, Error> {
        let sql = "select verifier from verifiers where log = ? order by verifier";
        let found = self.readers.rows(sql, [log.to_string()], |row| row.get(0));
        found.await.map_err(failed)
    }

    async fn published(&self, log: JournalId, destination: &str) -> Result<Option<u64>, Error> {
        let sql = "select number from published where log = ? and destination = ?";
        let key = (log.to_string(), destination.to_owned());
        let found = self.readers.rows(sql, key, |row| row.get::<_, i64>(0));
        Ok(found.await.map_err(failed)?.pop().map(|number| number as u64))
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
        assert!(matches!(SqliteSeal::open_reader(&path), Err(Error::Unavailable(_))));
        let store = folder.open().await;
        let reader = SqliteSeal::open_reader(&path).expect("it opens");
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
