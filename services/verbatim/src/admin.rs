//! Backup, restore and rebuild, in a running server or on a stopped one's folder.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use secrecy::{ExposeSecret, SecretString};
use verbatim_journal::{Journal, Log, PostgresJournal, SqliteJournal};
use verbatim_postgres::Database;
use verbatim_state::sqlite::SqliteState;
use verbatim_views::{PostgresViews, Rebuildable, SqliteViews};

use crate::cli::{BackupArgs, RebuildArgs, RestoreArgs};
use crate::control::{self, Answering, Request};
use crate::data::DataFolder;
use crate::progress::Progress;
use crate::settings;

/// What lies in a data folder, opened.
#[derive(Clone)]
pub struct Stores {
    pub journal: Arc<SqliteJournal>,
    pub views: Arc<SqliteViews>,
    pub state: Arc<SqliteState>,
}

impl Stores {
    /// Call with the folder's lock held.
    pub async fn open(folder: &DataFolder) -> anyhow::Result<Self> {
        let journal = SqliteJournal::open(&folder.journal()).await?;
        let views = SqliteViews::open(&folder.views(), journal.id()).await?;
        let state = SqliteState::open(&folder.state(), journal.id()).await?;
        Ok(Self { journal: Arc::new(journal), views: Arc::new(views), state: Arc::new(state) })
    }

    /// Does what an admin asks of the running server.
    pub async fn answer(self, request: Request, answering: Answering) -> anyhow::Result<String> {
        match request {
            Request::Backup { out } => backup_to(&self.journal, &out).await,
            Request::Rebuild => self.rebuild(|done, of| answering.progress(done, of)).await,
        }
    }

    async fn rebuild(&self, progress: impl FnMut(u64, u64)) -> anyhow::Result<String> {
        rebuild_views(&*self.journal, &*self.views, progress).await
    }
}

async fn rebuild_views<V: Rebuildable>(
    journal: &dyn Journal,
    views: &V,
    progress: impl FnMut(u64, u64),
) -> anyhow::Result<String> {
    let events = verbatim_projection::rebuild(journal, views, progress).await?;
    Ok(format!("the views were made anew from {events} events"))
}

async fn backup_to(journal: &SqliteJournal, out: &Path) -> anyhow::Result<String> {
    journal.backup(out).await?;
    Ok(format!("the journal was copied to {}", out.display()))
}

pub fn backup(args: &BackupArgs) -> anyhow::Result<()> {
    let folder = DataFolder::existing(&args.data.data_dir)?;
    let out = std::path::absolute(&args.out)?;
    if out.exists() {
        bail!("--out: {} exists", out.display());
    }
    in_process_or_by_asking(&folder, &Request::Backup { out: out.clone() }, async |stores, _| {
        backup_to(&stores.journal, &out).await
    })
}

pub fn rebuild(args: &RebuildArgs) -> anyhow::Result<()> {
    if let Some(url) = &args.store.database_url {
        let url = settings::postgres_url(url)?;
        println!("{}", runtime()?.block_on(rebuild_in_database(&url))?);
        return Ok(());
    }
    let folder = DataFolder::existing(&args.store.data.data_dir)?;
    in_process_or_by_asking(&folder, &Request::Rebuild, async |stores, progress| {
        stores.rebuild(progress).await
    })
}

/// Makes a cluster's views anew, whichever processes use them meanwhile.
async fn rebuild_in_database(url: &SecretString) -> anyhow::Result<String> {
    let database = Database::connect(url.expose_secret(), 8).await.context("DATABASE_URL")?;
    let journal = PostgresJournal::open(database.clone()).await?;
    let views = PostgresViews::open_reader(database, journal.id()).await?;
    let mut bar = Progress::default();
    let rebuilt = rebuild_views(&journal, &views, |done, of| bar.show(done, of)).await;
    drop(bar);
    rebuilt
}

pub fn restore(args: &RestoreArgs) -> anyhow::Result<()> {
    if !args.from.is_file() {
        bail!("--from: no such file {}", args.from.display());
    }
    let folder = DataFolder::create(&args.data.data_dir)?;
    let _lock = folder.lock()?;
    if folder.journal().exists() {
        bail!("{} has a journal already: restore into an empty folder", folder.root().display());
    }
    let summary =
        runtime()?.block_on(verbatim_journal::sqlite::restore(&args.from, &folder.journal()))?;
    println!(
        "restored {} events into {}; clients' cursors start anew, the views are made at the next start",
        summary.head,
        folder.root().display()
    );
    Ok(())
}

/// Runs `work` on the folder's own stores, or has the server that uses them do it.
fn in_process_or_by_asking<W>(folder: &DataFolder, request: &Request, work: W) -> anyhow::Result<()>
where
    W: AsyncFnOnce(Stores, &mut dyn FnMut(u64, u64)) -> anyhow::Result<String>,
{
    let mut bar = Progress::default();
    let lock = folder.try_lock()?;
    let message = runtime()?.block_on(async {
        let mut progress = |done, of| bar.show(done, of);
        if lock.is_none() {
            return control::ask(&folder.control(), request, progress).await;
        }
        if !folder.journal().exists() {
            bail!("{} holds no journal", folder.root().display());
        }
        work(Stores::open(folder).await?, &mut progress).await
    });
    drop(bar);
    println!("{}", message?);
    Ok(())
}

pub fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
}
