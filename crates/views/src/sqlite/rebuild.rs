//! Views made anew beside those in use, and the exchange of the two.
//!
//! New views grow in a file of their own, `<name>.rebuild`. The exchange closes both files, so that
//! each is whole without its write-ahead log, and renames the new one over the old: whoever crashes
//! in between finds the one or the other, and what is left over is removed when views are opened.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::OwnedSemaphorePermit;
use verbatim_protocol::Recorded;
use verbatim_sqlite::Database;

use super::SqliteViews;
use super::compare::SqliteComparison;
use super::store::{Store, beside, closed, exists, remove, unavailable, unbroken};
use crate::{Comparison, Error, Rebuild, Rebuildable};

/// How long the beginning of a rebuild waits for the end of another.
const PATIENCE: Duration = Duration::from_secs(5);

/// Views that are being made anew; empty at first. Dropped, they are removed.
pub struct SqliteRebuild {
    store: Store,
    path: PathBuf,
    /// There is one rebuild at a time: given back when the files are gone.
    permit: Option<OwnedSemaphorePermit>,
}

#[async_trait]
impl Rebuild for SqliteRebuild {
    fn checkpoint(&self) -> u64 {
        self.store.checkpoint()
    }

    async fn apply(&self, events: &[Arc<Recorded>]) -> Result<(), Error> {
        self.store.apply(events).await
    }

    async fn give_up(mut self) -> Result<(), Error> {
        let Some(permit) = self.permit.take() else { return Ok(()) };
        unbroken(abandon(self.store.clone(), self.path.clone(), permit)).await
    }
}

/// Removes the files. `SQLite` removes a log by its name when it closes: no other rebuild may begin before,
/// so the permit is given back last.
async fn abandon(store: Store, path: PathBuf, _permit: OwnedSemaphorePermit) -> Result<(), Error> {
    store.close().await?;
    remove(&path).await
}

impl Drop for SqliteRebuild {
    fn drop(&mut self) {
        // Without a runtime the files stay, until views are opened again.
        let (Some(permit), Ok(runtime)) =
            (self.permit.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        let (store, path) = (self.store.clone(), self.path.clone());
        runtime.spawn(async move {
            if let Err(error) = abandon(store, path, permit).await {
                tracing::warn!(%error, "abandoned views are removed by the next rebuild");
            }
        });
    }
}

/// Where views are made anew.
pub(super) fn path_of(live: &Path) -> PathBuf {
    beside(live, ".rebuild")
}

#[async_trait]
impl Rebuildable for SqliteViews {
    type Rebuild = SqliteRebuild;

    async fn begin_rebuild(&self) -> Result<SqliteRebuild, Error> {
        let permit = Arc::clone(&self.rebuilding).acquire_owned();
        let Ok(Ok(permit)) = tokio::time::timeout(PATIENCE, permit).await else {
            return Err(Error::Unavailable("another rebuild is under way".into()));
        };
        let (path, journal) = (path_of(&self.path), self.journal);
        let fold_after = self.store.fold_after;
        unbroken(async move {
            remove(&path).await?;
            let store = Store::open(&path, journal, fold_after).await?;
            Ok(SqliteRebuild { store, path, permit: Some(permit) })
        })
        .await
    }

    async fn swap(&self, rebuild: &mut SqliteRebuild) -> Result<(), Error> {
        let (live, fresh) = (self.store.clone(), rebuild.store.clone());
        let (path, journal) = (self.path.clone(), self.journal);
        unbroken(async move {
            let mut live_slot = live.slot.write().await;
            let mut fresh_slot = fresh.slot.write().await;
            if fresh.checkpoint() < live.checkpoint() {
                return Err(Error::Behind);
            }
            close(fresh_slot.take().ok_or_else(closed)?, &path_of(&path)).await?;
            let renamed = replace(live_slot.take().ok_or_else(closed)?, &path).await;
            // Whatever became of the exchange: what lies there now is whole, and is used.
            let (database, stored) = super::store::open(&path, journal).await?;
            *live_slot = Some(database);
            live.checkpoint.send_replace(stored);
            renamed
        })
        .await
    }

    async fn compare<'v>(
        &'v self,
        rebuild: &'v SqliteRebuild,
    ) -> Result<Box<dyn Comparison + 'v>, Error> {
        Ok(Box::new(SqliteComparison::begin(self, &rebuild.store).await?))
    }
}

/// Closes a file, leaving no write-ahead log.
async fn close(database: Database, path: &Path) -> Result<(), Error> {
    database.close().await?;
    if exists(&beside(path, "-wal")).await? {
        return Err(Error::Unavailable("the closed file has a log left".into()));
    }
    Ok(())
}

/// Puts the closed new file in place of the old one.
async fn replace(old: Database, path: &Path) -> Result<(), Error> {
    if let Err(error) = close(old, path).await {
        // The log of the old file must not be taken for the new one's.
        tracing::warn!(path = %path.display(), %error, "the replaced views didn't close well");
        remove(path).await?;
    }
    tokio::fs::rename(path_of(path), path).await.map_err(unavailable)?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    tokio::fs::File::open(folder).await.map_err(unavailable)?.sync_all().await.map_err(unavailable)
}
