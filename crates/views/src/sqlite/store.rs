//! One set of views: an open file and the position that it shows.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::MigrateError;
use sqlx::{SqliteConnection, SqlitePool};
use tokio::sync::{RwLock, RwLockReadGuard, watch};
use verbatim_protocol::{JournalId, Recorded};
use verbatim_sqlite::{Database, Durability, OpenError, begin, commit, rollback};

use super::rows::{GENERIC_ERROR, column, damaged, failed, primary_code};
use crate::Error;
use crate::batch::{Batch, following};
use crate::rows::{number, uuid};

/// Stands for the schema and for what the projector makes of events. Raised with either; views of
/// another version are made anew.
const VIEWS_VERSION: i64 = 1;

const SCHEMA: [(&str, &str); 1] =
    [("create views", include_str!("../../../../migrations/sqlite/views/0001_create_views.sql"))];

/// Connections for queries.
const READERS: u32 = 4;

/// The recent index is folded into the large one after so many events: seldom enough that many
/// entries of a page are written at once, and often enough that it takes no more than the time of a
/// few batches.
pub(super) const FOLD_AFTER: u64 = 16_384;

/// An open file. Clones are the same one.
#[derive(Clone)]
pub(super) struct Store {
    /// `None` once closed. Whoever reads or writes holds the lock shared; who exchanges the file
    /// holds it alone.
    pub slot: Arc<RwLock<Option<Database>>>,
    pub checkpoint: Arc<watch::Sender<u64>>,
    pub fold_after: u64,
}

impl Store {
    /// Opens the file, or makes it; one of another journal or version is made anew.
    pub async fn open(path: &Path, journal: JournalId, fold_after: u64) -> Result<Self, Error> {
        let (database, checkpoint) = open(path, journal).await?;
        Ok(Self {
            slot: Arc::new(RwLock::new(Some(database))),
            checkpoint: Arc::new(watch::Sender::new(checkpoint)),
            fold_after,
        })
    }

    /// The database, for a query.
    pub async fn read(&self) -> Result<Reading<'_>, Error> {
        RwLockReadGuard::try_map(self.slot.read().await, Option::as_ref)
            .map(Reading)
            .map_err(|_| closed())
    }

    pub fn checkpoint(&self) -> u64 {
        *self.checkpoint.borrow()
    }

    /// See [`Views::apply`](crate::Views::apply).
    pub async fn apply(&self, events: &[Arc<Recorded>]) -> Result<(), Error> {
        let store = self.clone();
        let events = events.to_vec();
        unbroken(async move {
            let slot = store.slot.read().await;
            let database = slot.as_ref().ok_or_else(closed)?;
            apply(database, &store.checkpoint, &events, store.fold_after).await
        })
        .await
    }

    /// See [`Views::reached`](crate::Views::reached).
    pub async fn reached(&self, position: u64, within: Duration) -> Result<(), Error> {
        if self.checkpoint() >= position {
            return Ok(());
        }
        let mut checkpoint = self.checkpoint.subscribe();
        let reached = checkpoint.wait_for(|checkpoint| *checkpoint >= position);
        match tokio::time::timeout(within, reached).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Error::Behind),
        }
    }

    /// Closes the file once nobody uses it any more; later calls find it unavailable.
    pub async fn close(&self) -> Result<(), Error> {
        let slot = Arc::clone(&self.slot);
        unbroken(async move {
            match slot.write().await.take() {
                Some(database) => database.close().await.map_err(failed),
                None => Ok(()),
            }
        })
        .await
    }
}

/// A database in use by a query.
pub(super) struct Reading<'a>(RwLockReadGuard<'a, Database>);

impl Reading<'_> {
    pub fn pool(&self) -> &SqlitePool {
        self.0.readers()
    }
}

/// Runs to the end what must not stop halfway, whatever becomes of the caller.
pub(super) async fn unbroken<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    match tokio::spawn(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::Unavailable(Box::new(error))),
    }
}

pub(super) fn closed() -> Error {
    Error::Unavailable("the views are closed".into())
}

async fn apply(
    database: &Database,
    checkpoint: &watch::Sender<u64>,
    events: &[Arc<Recorded>],
    fold_after: u64,
) -> Result<(), Error> {
    let mut writer = database.writer().lock().await;
    let from = *checkpoint.borrow();
    let events = following(from, events)?;
    let Some(last) = events.last() else { return Ok(()) };
    let batch = Batch::of(events.iter().map(AsRef::as_ref))?;
    if let Err(error) = store(&mut writer, &batch, (from, last.position), fold_after).await {
        // A failed commit may have been one all the same: what is stored says so.
        rollback(&mut writer).await.map_err(failed)?;
        checkpoint.send_replace(read_checkpoint(&mut writer).await?);
        return Err(error);
    }
    checkpoint.send_replace(last.position);
    Ok(())
}

/// Stores changes and checkpoint in one transaction.
async fn store(
    writer: &mut SqliteConnection,
    batch: &Batch<'_>,
    (from, through): (u64, u64),
    fold_after: u64,
) -> Result<(), Error> {
    begin(writer).await.map_err(failed)?;
    batch.store(writer, from, through).await?;
    let moved = sqlx::query(include_str!("statements/move_checkpoint.sql"))
        .bind(from as i64)
        .bind(through as i64)
        .fetch_optional(&mut *writer)
        .await
        .map_err(failed)?;
    let Some(moved) = moved else {
        return Err(Error::Corrupt(format!("the stored checkpoint isn't {from}")));
    };
    if through - number(&moved, 0)?.min(through) >= fold_after {
        fold(writer).await.map_err(failed)?;
    }
    commit(writer).await.map_err(failed)
}

/// Moves what the recent index holds to the folded one.
async fn fold(writer: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    for statement in [
        include_str!("statements/fold_index.sql"),
        "delete from recent_index",
        "update source set folded = checkpoint",
    ] {
        sqlx::query(statement).execute(&mut *writer).await?;
    }
    Ok(())
}

async fn read_checkpoint(writer: &mut SqliteConnection) -> Result<u64, Error> {
    let row = sqlx::query("select checkpoint from source").fetch_one(writer).await;
    number(&row.map_err(failed)?, 0)
}

pub(super) async fn open(path: &Path, journal: JournalId) -> Result<(Database, u64), Error> {
    if !exists(path).await? {
        // A log without its file belongs to nothing.
        remove(path).await?;
    }
    match open_file(path, journal).await {
        Err(Error::Corrupt(why)) => {
            tracing::warn!(path = %path.display(), why, "the views start anew");
            remove(path).await?;
            open_file(path, journal).await
        }
        result => result,
    }
}

/// # Errors
/// [`Error::Corrupt`] if the file isn't this journal's and version's; it is closed then.
async fn open_file(path: &Path, journal: JournalId) -> Result<(Database, u64), Error> {
    let opened = Database::open(path, Durability::Normal, READERS, &SCHEMA).await;
    let database = opened.map_err(|error| match &error {
        OpenError::Open { source, .. } if damaged(source) => Error::Corrupt(error.to_string()),
        OpenError::Migrate { source, .. } if foreign(source) => Error::Corrupt(error.to_string()),
        _ => unavailable(error),
    })?;
    match stored_checkpoint(&database, journal).await {
        Ok(checkpoint) => Ok((database, checkpoint)),
        Err(error) => {
            database.close().await.map_err(failed)?;
            Err(error)
        }
    }
}

/// Whether the schema is another's, and not just out of reach.
fn foreign(error: &MigrateError) -> bool {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
            damaged(error) || primary_code(error) == Some(GENERIC_ERROR)
        }
        _ => true,
    }
}

/// The position that the views show, written as 0 into new ones.
///
/// # Errors
/// [`Error::Corrupt`] if they are another journal's or version's.
async fn stored_checkpoint(database: &Database, journal: JournalId) -> Result<u64, Error> {
    let mut writer = database.writer().lock().await;
    sqlx::query(
        "insert into source (only_row, journal, version, checkpoint, folded) \
         values (1, ?, ?, 0, 0) on conflict do nothing",
    )
    .bind(&journal.0.as_bytes()[..])
    .bind(VIEWS_VERSION)
    .execute(&mut *writer)
    .await
    .map_err(failed)?;
    let row = sqlx::query("select journal, version, checkpoint from source")
        .fetch_one(&mut *writer)
        .await
        .map_err(failed)?;
    if uuid(&row, 0)? != journal.0 {
        return Err(Error::Corrupt("made from another journal".to_owned()));
    }
    if column::<i64>(&row, 1)? != VIEWS_VERSION {
        return Err(Error::Corrupt("made by another version".to_owned()));
    }
    number(&row, 2)
}

/// Removes a closed file and what `SQLite` keeps beside it.
pub(super) async fn remove(path: &Path) -> Result<(), Error> {
    for file in [path.to_owned(), beside(path, "-wal"), beside(path, "-shm")] {
        match tokio::fs::remove_file(&file).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(unavailable(error));
            }
            _ => {}
        }
    }
    Ok(())
}

pub(super) async fn exists(path: &Path) -> Result<bool, Error> {
    tokio::fs::try_exists(path).await.map_err(unavailable)
}

/// The path with something added to the file's name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

pub(super) fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Unavailable(Box::new(error))
}
