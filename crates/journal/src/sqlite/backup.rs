//! Copies of a journal, and the way back.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection, Row};
use uuid::Uuid;
use verbatim_protocol::{JournalId, Timestamp};
use verbatim_sqlite::Database;

use super::Failed;
use super::reading::journal_id;
use crate::Error;

/// What a file holds that was found to be a sound journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    pub id: JournalId,
    /// When the journal was made.
    pub created_at: Timestamp,
    /// The last position.
    pub head: u64,
}

/// Writes a copy beside `to`, and renames it once it is on the disk. A task does it, so that a
/// caller that goes away leaves nothing half done.
pub(super) async fn write(database: Arc<Database>, to: PathBuf) -> Result<(), Error> {
    let writing = tokio::spawn(async move {
        let partial = Partial::create(&to)?;
        database.copy(&partial.path).await.map_err(Failed::from)?;
        blocking(move || partial.finish(&to)).await
    });
    writing.await.map_err(|error| Error::Unavailable(Box::new(error)))?
}

/// Reads a backup through: `SQLite`'s own check, dense positions, dense streams. The file must not be
/// in use.
///
/// # Errors
/// [`Error::Unavailable`] when it can't be read, [`Error::Corrupt`] when it isn't a sound journal.
pub async fn verify(path: &Path) -> Result<Summary, Error> {
    let mut connection = SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .disable_statement_logging()
        .connect()
        .await
        .map_err(Failed::from)?;
    let summary = summarize(&mut connection).await?;
    connection.close().await.map_err(Failed::from)?;
    Ok(summary)
}

async fn summarize(connection: &mut SqliteConnection) -> Result<Summary, Failed> {
    let tables: i64 = sqlx::query_scalar(include_str!("count_journal_tables.sql"))
        .fetch_one(&mut *connection)
        .await?;
    if tables != 2 {
        return Err(Failed::Corrupt("the file holds no journal".to_owned()));
    }
    let check: String =
        sqlx::query_scalar("pragma integrity_check(1)").fetch_one(&mut *connection).await?;
    if check != "ok" {
        return Err(Failed::Corrupt(check));
    }
    let row = sqlx::query(include_str!("count_events.sql")).fetch_one(&mut *connection).await?;
    let (events, head): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    if events != head {
        return Err(Failed::Corrupt(format!("{events} events up to position {head}")));
    }
    let broken = sqlx::query(include_str!("find_broken_stream.sql"))
        .fetch_optional(&mut *connection)
        .await?;
    if let Some(row) = broken {
        let (kind, id): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        return Err(Failed::Corrupt(format!("the sequence of {kind}/{id} has a hole")));
    }
    let repeated =
        sqlx::query(include_str!("find_repeated_key.sql")).fetch_optional(&mut *connection).await?;
    if let Some(row) = repeated {
        let (issuer, key): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        return Err(Failed::Corrupt(format!("{issuer}'s key {key:?} was used twice")));
    }
    // Before there were these tables, the database itself kept the keys.
    let tables: i64 = sqlx::query_scalar(include_str!("count_index_tables.sql"))
        .fetch_one(&mut *connection)
        .await?;
    if tables > 0 {
        let wrong: i64 = sqlx::query_scalar(include_str!("count_wrong_keys.sql"))
            .fetch_one(&mut *connection)
            .await?;
        if wrong != 0 {
            return Err(Failed::Corrupt("the index tables don't fit the events".to_owned()));
        }
    }
    let row = sqlx::query("select id, created_at from journal").fetch_one(connection).await?;
    let id: String = row.try_get(0)?;
    Ok(Summary { id: journal_id(&id)?, created_at: Timestamp(row.try_get(1)?), head: head as u64 })
}

/// Verifies a backup and makes it the journal at `to`, under a new id: positions above its head were
/// other events once, so cursors and checkpoints from before must not fit.
///
/// # Errors
/// As [`verify`]; [`Error::Unavailable`] also when `to` exists.
pub async fn restore(backup: &Path, to: &Path) -> Result<Summary, Error> {
    let summary = verify(backup).await?;
    let (from, target) = (backup.to_owned(), to.to_owned());
    let partial = blocking(move || {
        let partial = Partial::create(&target)?;
        io::copy(&mut File::open(from).map_err(unavailable)?, &mut partial.open()?)
            .map_err(unavailable)?;
        Ok(partial)
    })
    .await?;
    let id = JournalId(Uuid::now_v7());
    let mut connection = SqliteConnectOptions::new()
        .filename(&partial.path)
        .disable_statement_logging()
        .connect()
        .await
        .map_err(Failed::from)?;
    sqlx::query("update journal set id = ?")
        .bind(id.to_string())
        .execute(&mut connection)
        .await
        .map_err(Failed::from)?;
    connection.close().await.map_err(Failed::from)?;
    let target = to.to_owned();
    blocking(move || partial.finish(&target)).await?;
    Ok(Summary { id, ..summary })
}

/// A file in the making, removed again unless it is finished.
struct Partial {
    path: PathBuf,
    finished: bool,
}

impl Partial {
    /// Creates `<to>.partial`, for its owner only.
    fn create(to: &Path) -> Result<Self, Error> {
        if to.try_exists().map_err(unavailable)? {
            return Err(invalid(&format!("{} exists", to.display())));
        }
        let mut path = OsString::from(to);
        path.push(".partial");
        let path = PathBuf::from(path);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        match options.open(&path) {
            Ok(_) => Ok(Self { path, finished: false }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(invalid(&format!(
                "{} exists: another copy is under way, or was broken off; then remove it",
                path.display()
            ))),
            Err(error) => Err(unavailable(error)),
        }
    }

    fn open(&self) -> Result<File, Error> {
        OpenOptions::new().write(true).open(&self.path).map_err(unavailable)
    }

    /// Waits for the disk, and gives the file its name.
    fn finish(mut self, to: &Path) -> Result<(), Error> {
        self.open()?.sync_all().map_err(unavailable)?;
        fs::rename(&self.path, to).map_err(unavailable)?;
        self.finished = true;
        let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))
            .and_then(|folder| folder.sync_all())
            .map_err(unavailable)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.finished
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(%error, path = %self.path.display(), "a broken-off copy stays");
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(unavailable)?
}

fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Unavailable(Box::new(error))
}

fn invalid(what: &str) -> Error {
    Error::Unavailable(what.into())
}
