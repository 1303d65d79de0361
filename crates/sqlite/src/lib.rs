//! How Verbatim opens a `SQLite` file.
//!
//! Invariant: of each file exactly one connection writes, and it alone checkpoints the write-ahead
//! log. All others are opened for reading alone. (The bundled `SQLite` is older than 3.51.3, in which
//! a commit on one connection while another checkpoints can lose data.) One process at a time has a
//! writer: the executable locks the data folder. Others may read beside it, by [`Readers`].

mod folding;
mod readers;
mod writer;

use std::borrow::Cow;
use std::cell::Cell;
use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode};
use sqlx::{ConnectOptions, Connection as _};

use folding::Folding;
pub use readers::{ReadError, Readers, select};
use writer::Writer;
pub use writer::{Closed, Place};

/// What a writer keeps of the file in memory, in KiB; negative as `SQLite` wants it. Not much more: each
/// commit of a transaction that has split a page looks at all pages that are kept (a split takes page
/// numbers far beyond the file's end for a moment, and the commit looks for what may be left of them).
const WRITER_CACHE_KIB: i32 = -16_384;

/// What the write-ahead log is cut back to once a reader no longer needs more of it, in bytes.
const LOG_SIZE_LIMIT: u32 = 67_108_864;

/// As `nice` counts: 0 is what all others have.
#[cfg(target_os = "linux")]
const LOWEST_PRIORITY: i32 = 19;

/// How often the write-ahead log is looked at, and a part of it folded in. Each time that waits until the
/// disk has the log; the more there is of it, the longer commits to other files wait beside it.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long a connection waits for another's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Statements that a connection keeps prepared.
const PREPARED: usize = 256;

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
    #[error("cannot open {path} for writing: {source}")]
    Writer {
        path: PathBuf,
        #[source]
        source: rusqlite::Error,
    },
    #[error("cannot open {path} for reading: {source}")]
    Reader {
        path: PathBuf,
        #[source]
        source: rusqlite::Error,
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
    /// Dropped before the writer: of those to a file only the last can fold in the log, and these
    /// can't.
    readers: Readers,
    writer: Writer,
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
        let mut first =
            options(path).journal_mode(SqliteJournalMode::Wal).connect().await.map_err(failed)?;
        // `run` would do the same, but its future isn't `Send` for every lifetime.
        migrator(migrations)
            .run_direct(&mut first)
            .await
            .map_err(|source| OpenError::Migrate { path: path.to_owned(), source })?;
        first.close().await.map_err(failed)?;
        let unwritable = |source| OpenError::Writer { path: path.to_owned(), source };
        // Open for longer than the writer: when any descriptor of a file is closed, the system drops the
        // process's locks on it.
        let file = OpenOptions::new().write(true).open(path);
        let sync = folding::syncing(file.map_err(|error| failed(sqlx::Error::Io(error)))?);
        let writer = open_writer(path, durability).map_err(unwritable)?;
        let reader = readers::connect(path).map_err(unwritable)?;
        let folding = Folding::new(&writer, reader, Arc::clone(&sync), LOOK_EVERY);
        let writer = Writer::start(writer, folding.map_err(unwritable)?)
            .map_err(|error| failed(sqlx::Error::Io(error)))?;
        let readers = Readers::open(path, readers)
            .map_err(|source| OpenError::Reader { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), readers, writer })
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Connections that can't write.
    #[must_use]
    pub fn readers(&self) -> &Readers {
        &self.readers
    }

    /// Has this done with the one connection that writes, after what was asked for before, and from
    /// beginning to end, even if the caller goes away.
    ///
    /// # Errors
    /// [`Closed`], also when it panicked.
    pub async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> T + Send + 'static,
    ) -> Result<T, Closed> {
        self.writer.write(work).await
    }

    /// Has the thread that writes leave the processors to others where these want them.
    ///
    /// # Errors
    /// [`Closed`].
    pub async fn yield_to_others(&self) -> Result<(), Closed> {
        self.write(|_| yield_to_others()).await
    }

    /// A place among what is to be done with the connection that writes.
    ///
    /// # Errors
    /// [`Closed`].
    pub async fn place(&self) -> Result<Place<'_>, Closed> {
        self.writer.place().await
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
    pub async fn fold(&self) -> Result<(), rusqlite::Error> {
        self.readers.close().await;
        // A writer that has ended has folded it in.
        self.writer.empty_log().await.unwrap_or(Ok(true)).map(drop)
    }

    /// Folds the write-ahead log into the file, and empties it; false if a reader needs it.
    ///
    /// # Errors
    /// `SQLite`'s; [`Closed`].
    pub async fn empty_log(&self) -> Result<bool, ReadError> {
        Ok(self.writer.empty_log().await??)
    }

    /// Closes all connections; the write-ahead log is folded into the file.
    ///
    /// # Errors
    /// The last checkpoint's.
    pub async fn close(self) -> Result<(), rusqlite::Error> {
        self.readers.close().await;
        self.writer.end().await
    }
}

fn open_writer(path: &Path, durability: Durability) -> Result<Connection, rusqlite::Error> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(PREPARED);
    let synchronous = match durability {
        Durability::Full => "full",
        Durability::Normal => "normal",
    };
    // Recursive triggers: else `insert or replace` deletes rows without asking those that forbid it.
    // Temporary storage is what statements need to take back what they did; a file for it is made and
    // removed with each large transaction.
    connection.execute_batch(&format!(
        "pragma journal_mode = wal;
         pragma synchronous = {synchronous};
         pragma journal_size_limit = {LOG_SIZE_LIMIT};
         pragma cache_size = {WRITER_CACHE_KIB};
         pragma temp_store = memory;
         pragma recursive_triggers = on;"
    ))?;
    Ok(connection)
}

thread_local! {
    static YIELDS: Cell<bool> = const { Cell::new(false) };
}

/// Has this thread leave the processors to others where these want them, as far as the system can do that
/// for one thread. Threads that it makes do the same.
pub fn yield_to_others() {
    YIELDS.set(true);
    #[cfg(target_os = "linux")]
    {
        let thread = Some(rustix::thread::gettid());
        if let Err(error) = rustix::process::setpriority_process(thread, LOWEST_PRIORITY) {
            tracing::debug!(%error, "a thread has the priority of all others");
        }
    }
}

/// The version of a file's schema.
const VERSION: &str = "select coalesce(max(version), 0) from _sqlx_migrations";

/// # Errors
/// [`OpenError::OtherVersion`].
fn same_version(path: &Path, found: i64, migrations: &[(&str, &str)]) -> Result<(), OpenError> {
    let known = migrations.len() as i64;
    if found == known {
        Ok(())
    } else {
        Err(OpenError::OtherVersion { path: path.to_owned(), found, known })
    }
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY_TIMEOUT)
        .disable_statement_logging()
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

    async fn open(folder: &Path) -> Database {
        Database::open(&folder.join("test.sqlite"), Durability::Full, 2, &[])
            .await
            .expect("the file opens")
    }

    async fn write(database: &Database, sql: &'static str) {
        let written = database.write(|connection| connection.execute_batch(sql));
        written.await.expect("done").expect("the writer writes");
    }

    #[tokio::test]
    async fn what_is_written_is_read_and_only_the_writer_writes() {
        let folder = tempfile::tempdir().expect("a folder");
        let database = open(folder.path()).await;
        write(&database, "create table t (n integer); insert into t values (7)").await;
        let read = |sql| database.readers().rows(sql, [], |row| row.get::<_, i64>(0));
        assert_eq!(read("select n from t").await.expect("a row"), [7]);
        let refused = read("insert into t values (1) returning n").await;
        assert!(refused.expect_err("refused").to_string().contains("readonly"));
    }

    #[tokio::test]
    async fn the_writer_waits_for_the_disk() {
        let folder = tempfile::tempdir().expect("a folder");
        let database = open(folder.path()).await;
        let asked = database.write(|connection| {
            connection.query_row("pragma synchronous", [], |row| row.get::<_, i64>(0))
        });
        let synchronous = asked.await.expect("done").expect("an answer");
        assert_eq!(synchronous, 2, "FULL");
    }

    #[tokio::test]
    async fn readers_beside_the_writer_see_every_commit_and_fold_nothing_in() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("test.sqlite");
        let migrations = [("create t", "create table t (n integer)")];
        let database =
            Database::open(&path, Durability::Full, 1, &migrations).await.expect("the file opens");
        let readers = Readers::of_version(&path, 1, &migrations).expect("readers");
        let count = async |readers: &Readers| {
            let counted = readers.rows("select count(*) from t", [], |row| row.get::<_, i64>(0));
            counted.await.expect("a number")[0]
        };
        for n in 1..=3 {
            write(&database, "insert into t values (1)").await;
            assert_eq!(count(&readers).await, n);
        }
        let log = folder.path().join("test.sqlite-wal");
        database.close().await.expect("the writer closes");
        let size = std::fs::metadata(&log).expect("the readers keep the log").len();
        readers.close().await;
        assert_eq!(std::fs::metadata(&log).expect("the log stays").len(), size);
        let database =
            Database::open(&path, Durability::Full, 1, &migrations).await.expect("it opens again");
        assert_eq!(count(database.readers()).await, 3);
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn only_the_owner_reads_the_files() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().expect("a folder");
        let database = open(folder.path()).await;
        write(&database, "create table t (n integer)").await;
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
