//! One set of views: an open file and the position that it shows.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};
use sqlx::migrate::MigrateError;
use tokio::sync::{RwLock, watch};
use verbatim_protocol::{JournalId, Recorded};
use verbatim_sqlite::{Closed, Database, Durability, OpenError};

use super::rows::{GENERIC_ERROR, damaged, file_damaged, primary_code};
use crate::Error;
use crate::batch::{Batch, following};

/// Stands for the schema and for what the projector makes of events. Raised with either; views of
/// another version are made anew.
const VIEWS_VERSION: i64 = 3;

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
    /// The highest position that somebody has waited for.
    wanted: Arc<watch::Sender<u64>>,
    pub fold_after: u64,
}

impl Store {
    /// Opens the file, or makes it; one of another journal or version is made anew.
    pub async fn open(path: &Path, journal: JournalId, fold_after: u64) -> Result<Self, Error> {
        let (database, checkpoint) = open(path, journal).await?;
        Ok(Self {
            slot: Arc::new(RwLock::new(Some(database))),
            checkpoint: Arc::new(watch::Sender::new(checkpoint)),
            wanted: Arc::new(watch::Sender::new(0)),
            fold_after,
        })
    }

    /// What a query finds.
    pub async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let slot = self.slot.read().await;
        slot.as_ref().ok_or_else(closed)?.readers().read(query).await
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
            let (checkpoint, fold_after) = (Arc::clone(&store.checkpoint), store.fold_after);
            let applied = database
                .write(move |connection| apply(connection, &checkpoint, &events, fold_after));
            applied.await?
        })
        .await
    }

    /// See [`Views::reached`](crate::Views::reached).
    pub async fn reached(&self, position: u64, within: Duration) -> Result<(), Error> {
        if self.checkpoint() >= position {
            return Ok(());
        }
        self.wanted.send_if_modified(|wanted| {
            let is_more = position > *wanted;
            *wanted = position.max(*wanted);
            is_more
        });
        let mut checkpoint = self.checkpoint.subscribe();
        let reached = checkpoint.wait_for(|checkpoint| *checkpoint >= position);
        match tokio::time::timeout(within, reached).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Error::Behind),
        }
    }

    /// See [`Views::wanted`](crate::Views::wanted).
    pub async fn wanted(&self) {
        let mut wanted = self.wanted.subscribe();
        let more = wanted.wait_for(|wanted| *wanted > self.checkpoint()).await;
        more.expect("the sender is this object's");
    }

    /// Closes the file once nobody uses it any more; later calls find it unavailable.
    pub async fn close(&self) -> Result<(), Error> {
        let slot = Arc::clone(&self.slot);
        unbroken(async move {
            match slot.write().await.take() {
                Some(database) => Ok(database.close().await?),
                None => Ok(()),
            }
        })
        .await
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

impl From<Closed> for Error {
    fn from(closed: Closed) -> Self {
        Self::Unavailable(Box::new(closed))
    }
}

fn apply(
    connection: &mut Connection,
    checkpoint: &watch::Sender<u64>,
    events: &[Arc<Recorded>],
    fold_after: u64,
) -> Result<(), Error> {
    let from = *checkpoint.borrow();
    let events = following(from, events)?;
    let Some(last) = events.last() else { return Ok(()) };
    let batch = Batch::of(events.iter().map(AsRef::as_ref))?;
    if let Err(error) = store(connection, &batch, (from, last.position), fold_after) {
        // A failed commit may have been one all the same: what is stored says so.
        let stored =
            connection.query_row("select checkpoint from source", [], |row| row.get::<_, i64>(0));
        checkpoint.send_replace(stored? as u64);
        return Err(error);
    }
    checkpoint.send_replace(last.position);
    Ok(())
}

/// Stores changes and checkpoint in one transaction.
fn store(
    connection: &mut Connection,
    batch: &Batch<'_>,
    (from, through): (u64, u64),
    fold_after: u64,
) -> Result<(), Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    batch.store(&transaction, from, through)?;
    let moved = transaction
        .prepare_cached(include_str!("statements/move_checkpoint.sql"))
        .and_then(|mut moved| {
            moved.query_row([from as i64, through as i64], |row| row.get::<_, i64>(0)).optional()
        })?;
    let Some(folded) = moved else {
        return Err(Error::Corrupt(format!("the stored checkpoint isn't {from}")));
    };
    if through - (folded as u64).min(through) >= fold_after {
        transaction.execute_batch(FOLD)?;
    }
    Ok(transaction.commit()?)
}

/// Moves what the recent index holds to the folded one.
const FOLD: &str = concat!(
    include_str!("statements/fold_index.sql"),
    "; delete from recent_index; update source set folded = checkpoint"
);

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
        OpenError::Writer { source, .. } | OpenError::Reader { source, .. }
            if file_damaged(source) =>
        {
            Error::Corrupt(error.to_string())
        }
        OpenError::Migrate { source, .. } if foreign(source) => Error::Corrupt(error.to_string()),
        _ => unavailable(error),
    })?;
    let stored = database.write(move |connection| stored_checkpoint(connection, journal));
    match stored.await.map_err(Error::from).flatten() {
        Ok(checkpoint) => Ok((database, checkpoint)),
        Err(error) => {
            database.close().await?;
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
fn stored_checkpoint(connection: &Connection, journal: JournalId) -> Result<u64, Error> {
    connection.execute(
        "insert into source (only_row, journal, version, checkpoint, folded)
             values (1, ?, ?, 0, 0) on conflict do nothing",
        (&journal.0.as_bytes()[..], VIEWS_VERSION),
    )?;
    let (stored_journal, version, checkpoint) =
        connection.query_row("select journal, version, checkpoint from source", [], |row| {
            Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
        })?;
    if stored_journal != journal.0.as_bytes() {
        return Err(Error::Corrupt("made from another journal".to_owned()));
    }
    if version != VIEWS_VERSION {
        return Err(Error::Corrupt("made by another version".to_owned()));
    }
    Ok(checkpoint as u64)
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
