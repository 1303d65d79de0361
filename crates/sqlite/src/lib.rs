//! How Verbatim opens a `SQLite` file.
//!
//! Invariant: of each file exactly one connection writes, and it alone checkpoints the write-ahead
//! log. All others are `query_only` with auto-checkpoint off. (The bundled `SQLite` is older than
//! 3.51.3, in which a commit on one connection while another checkpoints can lose data.) One process
//! at a time has a writer: the executable locks the data folder. Others may read beside it, by
//! [`open_reader`].

mod transaction;

use std::borrow::Cow;
use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection};
use tokio::sync::Mutex;

pub use transaction::{begin, commit, rollback};

/// How far the write-ahead log grows until the writer folds it into the file, in pages of 4 KiB.
/// The more, the fewer writes: a page that changes again and again is folded in once. The less, the
/// shorter the stall of the commit that does it, and the start after a crash.
const CHECKPOINT_PAGES: &str = "2500";

/// What a writer keeps of the file in memory, in KiB; negative as `SQLite` wants it.
const WRITER_CACHE_KIB: &str = "-65536";

/// What the write-ahead log is cut back to once a reader no longer needs more of it, in bytes.
const LOG_SIZE_LIMIT: &str = "67108864";

/// Rows that a connection's thread may be ahead of the task that takes them.
const ROW_BUFFER: usize = 512;

/// Whether a commit waits for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// A commit that has returned survives a power loss (`synchronous=FULL`).
    Full,
    /// Survives a crash of the process; a power loss may take the last commits back, in order
    /// (`synchronous=NORMAL`).
    Normal,
}

/// Why a file can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot open {path}: {source}")]
    Open {
        path: PathBuf,
        #[source]
        source: sqlx::Error,
    },
    /// Also when the file was made by a newer version.
    #[error("cannot bring the schema of {path} up to date: {source}")]
    Migrate {
        path: PathBuf,
        #[source]
        source: MigrateError,
    },
    #[error(
        "{path} was made by another version: its schema is at {found}, this version's at {known}"
    )]
    OtherVersion { path: PathBuf, found: i64, known: i64 },
}

/// Numbered as they stand.
fn migrator(migrations: &[(&str, &str)]) -> Migrator {
    let numbered = (1..).zip(migrations).map(|(number, (description, sql))| {
        let description = Cow::Owned((*description).to_owned());
        let sql = Cow::Owned((*sql).to_owned());
        Migration::new(number, description, MigrationType::Simple, sql, false)
    });
    Migrator { migrations: numbered.collect(), ..Migrator::DEFAULT }
}

/// An open file: one writer, some readers.
#[derive(Debug)]
pub struct Database {
    path: PathBuf,
    writer: Mutex<SqliteConnection>,
    readers: SqlitePool,
}

impl Database {
    /// Opens the file, or creates it readable by its owner only, and brings its schema up to date:
    /// each migration is what it does and its SQL.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(
        path: &Path,
        durability: Durability,
        readers: u32,
        migrations: &[(&str, &str)],
    ) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Open { path: path.to_owned(), source };
        create(path).map_err(|error| failed(sqlx::Error::Io(error)))?;
        let options = options(path);
        let mut writer = options
            .clone()
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(match durability {
                Durability::Full => SqliteSynchronous::Full,
                Durability::Normal => SqliteSynchronous::Normal,
            })
            .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
            .pragma("journal_size_limit", LOG_SIZE_LIMIT)
            .pragma("cache_size", WRITER_CACHE_KIB)
            // Else `insert or replace` deletes rows without asking the triggers that forbid it.
            .pragma("recursive_triggers", "1")
            .connect()
            .await
            .map_err(failed)?;
        // `run` would do the same, but its future isn't `Send` for every lifetime.
        migrator(migrations)
            .run_direct(&mut writer)
            .await
            .map_err(|source| OpenError::Migrate { path: path.to_owned(), source })?;
        let readers = readers_with(options, readers).await.map_err(failed)?;
        Ok(Self { path: path.to_owned(), writer: Mutex::new(writer), readers })
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Connections that can't write.
    #[must_use]
    pub fn readers(&self) -> &SqlitePool {
        &self.readers
    }

    /// The one connection that writes. A transaction on it must not be cancelled halfway: run it in
    /// a task of its own.
    #[must_use]
    pub fn writer(&self) -> &Mutex<SqliteConnection> {
        &self.writer
    }

    /// Writes one state of the database to `to`, a new or an empty file, while it is in use. The log
    /// can't be folded in meanwhile. The caller waits for the disk.
    ///
    /// # Errors
    /// `SQLite`'s; what it has written until then is left.
    pub async fn copy(&self, to: &Path) -> Result<(), sqlx::Error> {
        let to = to.to_str().ok_or_else(|| {
            let error = io::Error::new(io::ErrorKind::InvalidFilename, "the path is not UTF-8");
            sqlx::Error::Io(error)
        })?;
        // `query_only` would forbid this; opened for reading, it can write no other file than `to`.
        let mut reader =
            options(&self.path).read_only(true).pragma("wal_autocheckpoint", "0").connect().await?;
        let copied = sqlx::query("vacuum into ?").bind(to).execute(&mut reader).await;
        reader.close().await?;
        copied.map(drop)
    }

    /// A connection of its own that only reads, and has another file beside this one, under a name.
    ///
    /// # Errors
    /// `SQLite`'s.
    pub async fn reader_beside(
        &self,
        name: &str,
        other: &Path,
    ) -> Result<SqliteConnection, sqlx::Error> {
        let mut reader = options(&self.path)
            .read_only(true)
            .pragma("query_only", "1")
            .pragma("wal_autocheckpoint", "0")
            .connect()
            .await?;
        sqlx::query(&format!("attach database ? as {name}"))
            .bind(other.to_string_lossy().into_owned())
            .execute(&mut reader)
            .await?;
        Ok(reader)
    }

    /// Closes the readers, and folds the whole write-ahead log into the file: what an owner that is
    /// shared can do to close it. Call when nothing writes any more.
    ///
    /// # Errors
    /// The checkpoint's; nothing committed is lost.
    pub async fn fold(&self) -> Result<(), sqlx::Error> {
        self.readers.close().await;
        let mut writer = self.writer.lock().await;
        sqlx::query("pragma wal_checkpoint(truncate)").execute(&mut *writer).await.map(drop)
    }

    /// Closes all connections; the write-ahead log is folded into the file.
    ///
    /// # Errors
    /// The last checkpoint's.
    pub async fn close(self) -> Result<(), sqlx::Error> {
        // One round leaves a connection open that was just on its way back into the pool.
        while self.readers.size() > 0 {
            self.readers.close().await;
        }
        self.writer.into_inner().close().await
    }
}

/// Opens connections that only read, to a file that another process may be writing: opened for
/// reading, they neither fold in the log nor remove it. The schema must be of this version.
///
/// # Errors
/// [`OpenError`]; a file that isn't there is not made.
pub async fn open_reader(
    path: &Path,
    connections: u32,
    migrations: &[(&str, &str)],
) -> Result<SqlitePool, OpenError> {
    let failed = |source| OpenError::Open { path: path.to_owned(), source };
    let readers = readers_with(options(path).read_only(true), connections).await.map_err(failed)?;
    let known = migrations.len() as i64;
    let found: i64 = sqlx::query_scalar("select coalesce(max(version), 0) from _sqlx_migrations")
        .fetch_one(&readers)
        .await
        .map_err(failed)?;
    if found == known {
        Ok(readers)
    } else {
        Err(OpenError::OtherVersion { path: path.to_owned(), found, known })
    }
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(Duration::from_secs(5))
        .statement_cache_capacity(256)
        .row_buffer_size(ROW_BUFFER)
        .disable_statement_logging()
}

async fn readers_with(
    options: SqliteConnectOptions,
    connections: u32,
) -> Result<SqlitePool, sqlx::Error> {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .min_connections(1)
        .connect_with(options.pragma("query_only", "1").pragma("wal_autocheckpoint", "0"))
        .await
}

/// `SQLite` gives the write-ahead log the mode of the file itself.
fn create(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::Row;

    async fn open(folder: &Path) -> Database {
        Database::open(&folder.join("test.sqlite"), Durability::Full, 2, &[])
            .await
            .expect("the file opens")
    }

    #[tokio::test]
    async fn only_the_writer_writes_and_checkpoints() {
        let folder = tempfile::tempdir().expect("a folder");
        let database = open(folder.path()).await;
        sqlx::raw_sql("create table t (n integer)")
            .execute(&mut *database.writer().lock().await)
            .await
            .expect("the writer writes");
        let mut held = Vec::new();
        for _ in 0..2 {
            let mut reader = database.readers().acquire().await.expect("a reader");
            let refused = sqlx::raw_sql("insert into t values (1)").execute(&mut *reader).await;
            assert!(refused.is_err_and(|error| error.to_string().contains("readonly")));
            let pages: i64 = sqlx::query("pragma wal_autocheckpoint")
                .fetch_one(&mut *reader)
                .await
                .expect("an answer")
                .get(0);
            assert_eq!(pages, 0);
            held.push(reader);
        }
    }

    #[tokio::test]
    async fn the_writer_waits_for_the_disk() {
        let folder = tempfile::tempdir().expect("a folder");
        let database = open(folder.path()).await;
        let mut writer = database.writer().lock().await;
        let synchronous: i64 = sqlx::query("pragma synchronous")
            .fetch_one(&mut *writer)
            .await
            .expect("an answer")
            .get(0);
        assert_eq!(synchronous, 2, "FULL");
    }

    #[tokio::test]
    async fn a_reader_beside_the_writer_sees_every_commit_and_folds_nothing_in() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("test.sqlite");
        let migrations = [("create t", "create table t (n integer)")];
        let database =
            Database::open(&path, Durability::Full, 1, &migrations).await.expect("the file opens");
        let reader = open_reader(&path, 1, &migrations).await.expect("a reader");
        let insert = || sqlx::raw_sql("insert into t values (1)");
        let count = || sqlx::query_scalar::<_, i64>("select count(*) from t");
        for n in 1..=3 {
            insert().execute(&mut *database.writer().lock().await).await.expect("written");
            assert_eq!(count().fetch_one(&reader).await.expect("a number"), n);
        }
        let refused = insert().execute(&reader).await;
        assert!(refused.is_err_and(|error| error.to_string().contains("readonly")));
        let pages: i64 = sqlx::query_scalar("pragma wal_autocheckpoint")
            .fetch_one(&reader)
            .await
            .expect("an answer");
        assert_eq!(pages, 0);
        let log = folder.path().join("test.sqlite-wal");
        database.close().await.expect("the writer closes");
        let size = std::fs::metadata(&log).expect("the reader keeps the log").len();
        reader.close().await;
        assert_eq!(std::fs::metadata(&log).expect("the log stays").len(), size);
        let database =
            Database::open(&path, Durability::Full, 1, &migrations).await.expect("it opens again");
        assert_eq!(count().fetch_one(database.readers()).await.expect("a number"), 3);
    }

    #[tokio::test]
    async fn a_reader_refuses_what_is_missing_or_of_another_version() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("test.sqlite");
        assert!(matches!(open_reader(&path, 1, &[]).await, Err(OpenError::Open { .. })));
        assert!(!path.exists(), "nothing is made");
        let migrations = [("one", "select 1"), ("two", "select 2")];
        Database::open(&path, Durability::Full, 1, &migrations).await.expect("the file opens");
        let refused = open_reader(&path, 1, &migrations[..1]).await;
        assert!(matches!(refused, Err(OpenError::OtherVersion { found: 2, known: 1, .. })));
        std::fs::write(&path, "no database, but long enough to be looked at").expect("written");
        assert!(matches!(open_reader(&path, 1, &migrations).await, Err(OpenError::Open { .. })));
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn only_the_owner_reads_the_files() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().expect("a folder");
        let database = open(folder.path()).await;
        sqlx::raw_sql("create table t (n integer)")
            .execute(&mut *database.writer().lock().await)
            .await
            .expect("the writer writes");
        let mut files = 0;
        for file in std::fs::read_dir(folder.path()).expect("the folder") {
            let file = file.expect("a file");
            let mode = file.metadata().expect("its metadata").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", file.path().display());
            files += 1;
        }
        assert!(files >= 2, "the file and its write-ahead log");
    }
}
