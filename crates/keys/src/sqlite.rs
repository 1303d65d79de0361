//! The keys in one `SQLite` file.

mod reader;

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use uuid::Uuid;
use verbatim_domain::{KeyId, UserId};
use verbatim_protocol::Timestamp;
use verbatim_sqlite::{Database, Durability};

use crate::{Error, KeyStore, Stored};
pub use reader::SqliteKeyReader;

/// Connections that read: nothing does but a copy, which brings its own.
const READERS: u32 = 1;

const MIGRATIONS: [(&str, &str); 1] =
    [("create keys", include_str!("../../../migrations/sqlite/keys/0001_create_keys.sql"))];

/// How often it is tried to cut the log back, and how soon again.
const WIPES: u32 = 20;
const WIPE_AGAIN: Duration = Duration::from_millis(50);

/// In use, if none of the subject's is.
const INSERT: &str = "insert into keys (id, subject, wrapped, in_use, created_at, destroyed_at) \
     values (?1, ?2, ?3, \
         ?3 is not null and not exists (select 1 from keys where subject = ?2 and in_use = 1), \
         ?4, ?5) on conflict (id) do nothing";
/// Nothing, if one of the subject's is in use.
const OFFER: &str = "insert into keys (id, subject, wrapped, in_use, created_at) \
     select ?1, ?2, ?3, 1, ?4 \
     where not exists (select 1 from keys where subject = ?2 and in_use = 1)";
const DESTROY: &str = "update keys set wrapped = null, in_use = 0, destroyed_at = ?2 \
     where id = ?1 and wrapped is not null";

/// The keys in one file, which this process alone has open.
#[derive(Debug)]
pub struct SqliteKeys {
    database: Arc<Database>,
}

impl SqliteKeys {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// [`Error`], also when a newer version made the file.
    pub async fn open(path: &Path) -> Result<Self, Error> {
        let database =
            Database::open(path, Durability::Full, READERS, &MIGRATIONS).await.map_err(failed)?;
        let keys = Self { database: Arc::new(database) };
        // What is overwritten or removed is wiped from the file.
        keys.run(|connection| connection.execute_batch("pragma secure_delete = on")).await?;
        Ok(keys)
    }

    /// Writes one state of the store to `to`, a new file for its owner alone, which has its name once it
    /// is whole and on the disk.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn backup(&self, to: &Path) -> Result<(), Error> {
        let mut partial = to.as_os_str().to_owned();
        partial.push(".partial");
        let (partial, to) = (PathBuf::from(partial), to.to_owned());
        let options = OpenOptions::new().write(true).create_new(true).mode(0o600).clone();
        options.open(&partial).map_err(failed)?;
        let copied = self.database.copy(&partial).await.map_err(failed);
        let written = copied.and_then(|()| {
            File::open(&partial).and_then(|file| file.sync_all()).map_err(failed)?;
            fs::hard_link(&partial, &to).map_err(failed)?;
            let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
            File::open(folder.unwrap_or(Path::new(".")))
                .and_then(|it| it.sync_all())
                .map_err(failed)
        });
        let removed = fs::remove_file(&partial).map_err(failed);
        written.and(removed)
    }

    /// Folds the write-ahead log into the file. Call when nothing is stored any more.
    ///
    /// # Errors
    /// The last checkpoint's; nothing stored is lost.
    pub async fn close(&self) -> Result<(), Error> {
        self.database.fold().await.map_err(failed)
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, rusqlite::Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.database.write(work).await.map_err(failed)?.map_err(failed)
    }

    async fn change(
        &self,
        work: impl FnOnce(&Transaction) -> Result<(), rusqlite::Error> + Send + 'static,
    ) -> Result<(), Error> {
        self.run(move |connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            work(&transaction)?;
            transaction.commit()
        })
        .await
    }

    /// Rows of `select id, subject, wrapped from keys` and what follows.
    async fn select(
        &self,
        rest: &str,
        bound: impl rusqlite::Params + Send + 'static,
    ) -> Result<Vec<Stored>, Error> {
        let sql = format!("select id, subject, wrapped from keys {rest}");
        self.run(move |connection| {
            connection.prepare_cached(&sql)?.query_map(bound, stored)?.collect()
        })
        .await
    }
}

#[async_trait]
impl KeyStore for SqliteKeys {
    async fn in_use(&self, offered: Vec<Stored>) -> Result<Vec<Stored>, Error> {
        let now = Timestamp::now().0;
        self.run(move |connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let mut in_use = Vec::with_capacity(offered.len());
            {
                let mut insert = transaction.prepare_cached(OFFER)?;
                let mut select = transaction.prepare_cached(
                    "select id, subject, wrapped from keys where subject = ? and in_use = 1",
                )?;
                for key in offered {
                    insert.execute(params![
                        bytes(key.id),
                        key.subject.as_str(),
                        key.wrapped,
                        now
                    ])?;
                    in_use.extend(select.query_row([key.subject.as_str()], stored).optional()?);
                }
            }
            transaction.commit()?;
            Ok(in_use)
        })
        .await
    }

    async fn find(&self, ids: Vec<KeyId>) -> Result<Vec<Stored>, Error> {
        self.run(move |connection| those(connection, &ids)).await
    }

    async fn of_subject(&self, subject: &UserId) -> Result<Vec<Stored>, Error> {
        let subject = subject.to_string();
        self.select("where subject = ?", [subject]).await
    }

    async fn destroy(&self, subject: &UserId, ids: Vec<KeyId>) -> Result<(), Error> {
        let (subject, now) = (subject.to_string(), Timestamp::now().0);
        self.change(move |transaction| {
            for id in ids {
                transaction
                    .execute(INSERT, params![bytes(id), subject, None::<Vec<u8>>, now, now])?;
                transaction.execute(DESTROY, params![bytes(id), now])?;
            }
            Ok(())
        })
        .await?;
        // The log still holds the page as it was.
        for attempt in 1.. {
            if self.database.empty_log().await.map_err(failed)? {
                break;
            }
            if attempt == WIPES {
                tracing::warn!("a destroyed key stays in the log's file as long as that is needed");
                break;
            }
            tokio::time::sleep(WIPE_AGAIN).await;
        }
        Ok(())
    }

    async fn destroyed(&self) -> Result<Vec<Stored>, Error> {
        self.select("where wrapped is null order by subject", []).await
    }

    async fn page(&self, after: Option<KeyId>, limit: u32) -> Result<Vec<Stored>, Error> {
        let after = after.map_or_else(Vec::new, bytes);
        self.select("where id > ? order by id limit ?", (after, limit)).await
    }

    async fn take_in(&self, keys: Vec<Stored>) -> Result<(), Error> {
        let now = Timestamp::now().0;
        self.change(move |transaction| {
            for key in keys {
                let destroyed_at = key.wrapped.is_none().then_some(now);
                transaction.execute(
                    INSERT,
                    params![bytes(key.id), key.subject.as_str(), key.wrapped, now, destroyed_at],
                )?;
                if key.wrapped.is_none() {
                    transaction.execute(DESTROY, params![bytes(key.id), now])?;
                }
            }
            Ok(())
        })
        .await
    }

    async fn proof(&self, offered: Option<Vec<u8>>) -> Result<Option<Vec<u8>>, Error> {
        self.run(move |connection| {
            if let Some(offered) = offered {
                connection.execute(
                    "insert into master (one, proof) values (1, ?) on conflict do nothing",
                    [offered],
                )?;
            }
            connection.query_row("select proof from master", [], |row| row.get(0)).optional()
        })
        .await
    }
}

/// Those of the keys that are there.
fn those(connection: &Connection, ids: &[KeyId]) -> Result<Vec<Stored>, rusqlite::Error> {
    let mut select =
        connection.prepare_cached("select id, subject, wrapped from keys where id = ?")?;
    let found = ids.iter().map(|id| select.query_row([bytes(*id)], stored).optional());
    found.filter_map(Result::transpose).collect()
}

fn bytes(id: KeyId) -> Vec<u8> {
    id.0.as_bytes().to_vec()
}

fn stored(row: &Row) -> Result<Stored, rusqlite::Error> {
    let id: Vec<u8> = row.get(0)?;
    let id = Uuid::from_slice(&id).map_err(|error| unreadable(0, error))?;
    let subject: String = row.get(1)?;
    let subject = subject.parse().map_err(|error| unreadable(1, error))?;
    Ok(Stored { id: KeyId(id), subject, wrapped: row.get(2)? })
}

fn unreadable(
    column: usize,
    error: impl std::error::Error + Send + Sync + 'static,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Blob, Box::new(error))
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Unavailable(Box::new(error))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::conformance::Place;

    struct Folder(TempDir);

    impl Place for Folder {
        type Store = SqliteKeys;

        async fn new() -> Self {
            Self(tempfile::tempdir().expect("a folder"))
        }

        async fn open(&self) -> SqliteKeys {
            SqliteKeys::open(&self.0.path().join("keys.sqlite")).await.expect("it opens")
        }

        async fn close(&self, keys: SqliteKeys) {
            keys.close().await.expect("it closes");
        }
    }

    crate::conformance_tests!(Folder);

    #[tokio::test]
    async fn a_reader_beside_it_sees_the_keys_and_changes_nothing() {
        let folder = Folder::new().await;
        let path = folder.0.path().join("keys.sqlite");
        let nothing = SqliteKeyReader::open(&path).expect("no file, no keys");
        assert!(nothing.page(None, 10).await.expect("a page").is_empty() && !path.exists());
        let keys = folder.open().await;
        let stored = |subject: &str| Stored {
            id: KeyId(Uuid::now_v7()),
            subject: subject.parse().expect("an id"),
            wrapped: Some(vec![7]),
        };
        let (ann, bob) = (stored("ann"), stored("bob"));
        keys.in_use(vec![ann.clone(), bob.clone()]).await.expect("stored");
        let reader = SqliteKeyReader::open(&path).expect("it opens");
        keys.destroy(&bob.subject, vec![bob.id]).await.expect("destroyed");
        let bob = Stored { wrapped: None, ..bob };
        assert_eq!(
            reader.find(vec![bob.id, ann.id]).await.expect("keys"),
            [bob.clone(), ann.clone()]
        );
        assert_eq!(
            reader.of_subject(&ann.subject).await.expect("keys"),
            std::slice::from_ref(&ann)
        );
        assert_eq!(reader.destroyed().await.expect("keys"), std::slice::from_ref(&bob));
        assert_eq!(reader.page(Some(ann.id), 10).await.expect("keys"), [bob]);
        assert!(reader.in_use(vec![stored("cy")]).await.is_err());
        assert!(reader.destroy(&ann.subject, vec![ann.id]).await.is_err());
        assert_eq!(keys.find(vec![ann.id]).await.expect("keys"), [ann]);
    }

    #[tokio::test]
    async fn of_a_destroyed_key_no_byte_is_left_in_the_files() {
        let folder = Folder::new().await;
        let keys = folder.open().await;
        let ann: UserId = "ann".parse().expect("an id");
        let (id, wrapped) = (KeyId(Uuid::now_v7()), vec![0xA7; 60]);
        let offered = Stored { id, subject: ann.clone(), wrapped: Some(wrapped.clone()) };
        keys.in_use(vec![offered]).await.expect("stored");
        let holds_it = || {
            std::fs::read_dir(folder.0.path()).expect("a folder").any(|entry| {
                let bytes = std::fs::read(entry.expect("an entry").path()).expect("a file");
                bytes.windows(wrapped.len()).any(|window| window == wrapped)
            })
        };
        assert!(holds_it());
        keys.destroy(&ann, vec![id]).await.expect("destroyed");
        assert!(!holds_it());
    }
}
