//! The seal in `PostgreSQL`, in the schema `seal`.

use async_trait::async_trait;
use verbatim_postgres::Database;
use verbatim_proof::{Tile, TileId};
use verbatim_protocol::JournalId;

use crate::store::{bounded, failed, signed};
use crate::{Error, NewCheckpoint, Signed, Store};

const MIGRATIONS: [(&str, &str); 1] =
    [("create seal", include_str!("../../../migrations/postgres/seal/0001_create_seal.sql"))];

/// The seal in a database that other processes use, too. Of several who add the same checkpoint one
/// does.
#[derive(Debug, Clone)]
pub struct PostgresSeal {
    database: Database,
}

impl PostgresSeal {
    /// The seal whose tables [`migrate`](Self::migrate) has made.
    #[must_use]
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// The seal, if its tables are there.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn find(database: Database) -> Result<Option<Self>, Error> {
        let sql = "select to_regclass('seal.checkpoints') is not null";
        let found: bool = database.run(|c| Box::pin(sqlx::query_scalar(sql).fetch_one(c))).await?;
        Ok(found.then(|| Self::new(database)))
    }

    /// Makes the tables where they are missing, and brings them up to date.
    ///
    /// # Errors
    /// [`Error::Unavailable`], also when a newer version made them.
    pub async fn migrate(database: &Database) -> Result<(), Error> {
        Ok(verbatim_postgres::migrate(database, "seal", &MIGRATIONS).await?)
    }

    async fn one(
        &self,
        sql: &'static str,
        log: JournalId,
        number: i64,
    ) -> Result<Option<Signed>, Error> {
        let query = sqlx::query_as(sql).bind(log.to_string()).bind(number);
        let row = self.database.run(|c| Box::pin(query.fetch_optional(c))).await?;
        row.map(signed).transpose()
    }
}

#[async_trait]
impl Store for PostgresSeal {
    async fn add(&self, log: JournalId, checkpoint: NewCheckpoint) -> Result<(), Error> {
        let NewCheckpoint { number, size, signed_at, note, verifier, tiles } = checkpoint;
        let levels: Vec<_> = tiles.iter().map(|tile| tile.id.level as i32).collect();
        let indexes: Vec<_> = tiles.iter().map(|tile| tile.id.index as i64).collect();
        let hashes: Vec<_> = tiles.into_iter().map(|tile| tile.hashes).collect();
        let added: bool = self
            .database
            .run_to_end(move |connection| {
                let sql = "select seal.add_checkpoint($1::uuid, $2, $3, $4, $5, $6, $7, $8, $9)";
                let query = sqlx::query_scalar(sql)
                    .bind(log.to_string())
                    .bind(number as i64)
                    .bind(size as i64)
                    .bind(signed_at.0)
                    .bind(note)
                    .bind(verifier)
                    .bind(levels)
                    .bind(indexes)
                    .bind(hashes);
                Box::pin(query.fetch_one(connection))
            })
            .await?;
        if added { Ok(()) } else { Err(Error::Moved) }
    }

    async fn latest(&self, log: JournalId) -> Result<Option<Signed>, Error> {
        self.one(include_str!("postgres/find_latest.sql"), log, i64::MAX).await
    }

    async fn of_size(&self, log: JournalId, size: u64) -> Result<Option<Signed>, Error> {
        self.one(include_str!("postgres/find_of_size.sql"), log, bounded(size)).await
    }

    async fn after(&self, log: JournalId, number: u64, limit: usize) -> Result<Vec<Signed>, Error> {
        let query = sqlx::query_as(include_str!("postgres/read_after.sql"))
            .bind(log.to_string())
            .bind(bounded(number))
            .bind(limit as i64);
        let rows = self.database.run(|c| Box::pin(query.fetch_all(c))).await?;
        rows.into_iter().map(signed).collect()
    }

    async fn before(&self, id: u64, limit: usize) -> Result<Vec<Signed>, Error> {
        let query = sqlx::query_as(include_str!("postgres/read_before.sql"))
            .bind(bounded(id))
            .bind(limit as i64);
        let rows = self.database.run(|c| Box::pin(query.fetch_all(c))).await?;
        rows.into_iter().map(signed).collect()
    }

    async fn tiles(&self, log: JournalId, ids: &[TileId]) -> Result<Vec<Tile>, Error> {
        let levels: Vec<_> = ids.iter().map(|id| id.level as i32).collect();
        let indexes: Vec<_> = ids.iter().map(|id| bounded(id.index)).collect();
        let query = sqlx::query_as(include_str!("postgres/read_tiles.sql"))
            .bind(log.to_string())
            .bind(levels)
            .bind(indexes);
        let rows = self.database.run(|c| Box::pin(query.fetch_all(c))).await?;
        let tile = |(level, index, hashes): (i32, i64, Vec<u8>)| {
            let id = TileId { level: level as u32, index: index as u64 };
            Tile { id, hashes }
        };
        Ok(rows.into_iter().map(tile).collect())
    }

    async fn verifiers(&self, log: JournalId) -> Result<Vec<String>, Error> {
        let sql = "select verifier from seal.verifiers where log = $1::uuid order by verifier";
        let query = sqlx::query_scalar(sql).bind(log.to_string());
        Ok(self.database.run(|c| Box::pin(query.fetch_all(c))).await?)
    }

    async fn published(&self, log: JournalId, destination: &str) -> Result<Option<u64>, Error> {
        let sql = "select number from seal.published where log = $1::uuid and destination = $2";
        let query = sqlx::query_scalar(sql).bind(log.to_string()).bind(destination.to_owned());
        let number: Option<i64> = self.database.run(|c| Box::pin(query.fetch_optional(c))).await?;
        Ok(number.map(|number| number as u64))
    }

    async fn set_published(
        &self,
        log: JournalId,
        destination: &str,
        number: u64,
    ) -> Result<(), Error> {
        let query = sqlx::query(include_str!("postgres/set_published.sql"))
            .bind(log.to_string())
            .bind(destination.to_owned())
            .bind(number as i64);
        self.database.run_to_end(|connection| Box::pin(query.execute(connection))).await?;
        Ok(())
    }
}

impl From<verbatim_postgres::Error> for Error {
    fn from(error: verbatim_postgres::Error) -> Self {
        failed(error)
    }
}

#[cfg(test)]
mod tests {
    use verbatim_postgres::testing::TestDatabase;

    use super::*;
    use crate::conformance::{Place, checkpoint, log};

    struct Server(Database);

    impl Place for Server {
        type Store = PostgresSeal;

        async fn new() -> Self {
            let database = TestDatabase::create().await.connect().await;
            PostgresSeal::migrate(&database).await.expect("tables");
            Self(database)
        }

        async fn open(&self) -> PostgresSeal {
            PostgresSeal::new(self.0.clone())
        }
    }

    crate::conformance_tests!(Server);

    #[tokio::test]
    async fn checkpoints_can_be_neither_changed_nor_removed() {
        let server = Server::new().await;
        server.open().await.add(log(1), checkpoint(1, 3)).await.expect("added");
        for sql in [
            "update seal.checkpoints set size = 4",
            "delete from seal.checkpoints",
            "truncate seal.checkpoints",
        ] {
            let refused = server.0.run(|c| Box::pin(sqlx::query(sql).execute(c))).await;
            assert!(refused.expect_err("never").to_string().contains("never"), "{sql}");
        }
    }

    #[tokio::test]
    async fn of_twenty_who_add_the_same_checkpoint_one_does() {
        let store = Server::new().await.open().await;
        let mut racers = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let store = store.clone();
            racers.spawn(async move { store.add(log(1), checkpoint(1, 3)).await });
        }
        let added = racers.join_all().await;
        assert_eq!(added.iter().filter(|added| added.is_ok()).count(), 1, "{added:?}");
        assert!(added.iter().all(|added| matches!(added, Ok(()) | Err(Error::Moved))));
    }

    #[tokio::test]
    async fn a_checkpoint_waits_for_the_disk_though_the_database_would_not() {
        let server = Server::new().await;
        let sql = "with called as materialized (
                       select seal.add_checkpoint(gen_random_uuid(), 1, 1, 1, 'n', 'v', '{}', '{}', '{}')
                   )
                   select current_setting('synchronous_commit') from called";
        let set: String = server
            .0
            .run(|connection| {
                Box::pin(async move {
                    sqlx::query("set synchronous_commit = off").execute(&mut *connection).await?;
                    sqlx::query_scalar(sql).fetch_one(connection).await
                })
            })
            .await
            .expect("an answer");
        assert_eq!(set, "on");
    }
}
