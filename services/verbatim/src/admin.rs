//! Backup, restore and rebuild, in a running server or on a stopped one's folder.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::mpsc;
use verbatim_analytics::{Analytics, PostgresAnalytics, SqliteAnalytics};
use verbatim_bus::Bus;
use verbatim_journal::{Journal, Log, PostgresJournal, SqliteJournal};
use verbatim_keys::SqliteKeys;
use verbatim_postgres::Database;
use verbatim_projection::Compared;
use verbatim_seal::SqliteSeal;
use verbatim_state::sqlite::SqliteState;
use verbatim_views::{Difference, PostgresViews, Rebuildable, SqliteViews};

use crate::cli::{BackupArgs, RebuildArgs, RestoreArgs};
use crate::control::{self, Answering, Request, Told};
use crate::data::DataFolder;
use crate::keys;
use crate::progress::Progress;
use crate::refusal::{amiss, bad_input, bad_store};
use crate::settings;

/// Differences that may wait to be shown.
const DIFFERENCES: usize = 64;

/// What lies in a data folder, opened.
#[derive(Clone)]
pub struct Stores {
    pub journal: Arc<SqliteJournal>,
    pub views: Arc<SqliteViews>,
    pub state: Arc<SqliteState>,
    pub keys: Arc<SqliteKeys>,
    pub seal: Arc<SqliteSeal>,
    pub analytics: Analytics,
}

impl Stores {
    /// Call with the folder's lock held.
    pub async fn open(folder: &DataFolder) -> anyhow::Result<Self> {
        let journal = SqliteJournal::open(&folder.journal()).await?;
        let views = SqliteViews::open(&folder.views(), journal.id()).await?;
        let state = SqliteState::open(&folder.state(), journal.id()).await?;
        let keys = SqliteKeys::open(&folder.keys()).await?;
        let seal = SqliteSeal::open(&folder.seal()).await?;
        let analytics = SqliteAnalytics::open(&folder.analytics(), journal.id()).await?;
        seal.yield_to_others().await?;
        analytics.yield_to_others().await?;
        Ok(Self {
            journal: Arc::new(journal),
            views: Arc::new(views),
            state: Arc::new(state),
            keys: Arc::new(keys),
            seal: Arc::new(seal),
            analytics: Analytics::new(Arc::new(analytics)),
        })
    }

    /// Does what an admin asks of the running server.
    pub async fn answer(
        self,
        bus: Arc<dyn Bus>,
        request: Request,
        answering: Answering,
    ) -> anyhow::Result<String> {
        match request {
            Request::BackupKeys { out } => backup_keys_to(&self.keys, &out).await,
            Request::Erase { user } => keys::erase_by(&*bus, &*self.keys, &user).await,
            Request::Backup { out } => backup_to(&self.journal, &out).await,
            Request::Rebuild => {
                let progress = |done, of| answering.progress(done, of);
                rebuild_all(&*self.journal, &*self.views, &self.analytics, progress).await
            }
            Request::Check => {
                let progress = |done, of| answering.progress(done, of);
                let (sender, found) = mpsc::channel(DIFFERENCES);
                let Self { journal, views, analytics, .. } = self;
                let checking = check_all(&*journal, &*views, &analytics, progress, sender);
                let (compared, differences) = tokio::join!(checking, answering.differences(found));
                Ok(checked(compared?, differences))
            }
        }
    }
}

async fn rebuild_all<V: Rebuildable>(
    journal: &dyn Journal,
    views: &V,
    analytics: &Analytics,
    progress: impl FnMut(u64, u64),
) -> anyhow::Result<String> {
    let events = verbatim_projection::rebuild(journal, views, analytics, progress).await?;
    Ok(format!("views and analytics were made anew from {events} events"))
}

/// Holds views and analytics in use against ones made anew, and tells of each difference.
async fn check_all<V: Rebuildable>(
    journal: &dyn Journal,
    views: &V,
    analytics: &Analytics,
    progress: impl FnMut(u64, u64),
    tell: mpsc::Sender<Difference>,
) -> anyhow::Result<Compared> {
    verbatim_projection::check(journal, views, analytics, progress, &tell).await
}

fn checked(Compared { views, analytics }: Compared, differences: u64) -> String {
    let found = match differences {
        0 => "views and analytics are".to_owned(),
        1 => "one difference from".to_owned(),
        n => format!("{n} differences from"),
    };
    format!("{found} what a rebuild makes of the first {views} and {analytics} events")
}

async fn backup_to(journal: &SqliteJournal, out: &Path) -> anyhow::Result<String> {
    journal.backup(out).await?;
    Ok(format!(
        "the journal was copied to {}; what was said can be read with the keys (verbatim keys backup) \
         and the master key alone",
        out.display()
    ))
}

pub async fn backup_keys_to(keys: &SqliteKeys, out: &Path) -> anyhow::Result<String> {
    keys.backup(out).await?;
    Ok(format!("the keys were copied to {}", out.display()))
}

/// Where a backup is to be written.
pub fn new_file(out: &Path) -> anyhow::Result<PathBuf> {
    let out = std::path::absolute(out)?;
    if out.exists() {
        return Err(bad_input(anyhow!("--out: {} exists", out.display())));
    }
    Ok(out)
}

/// Where a backup is.
pub fn existing_file(from: &Path) -> anyhow::Result<()> {
    if !from.is_file() {
        return Err(bad_input(anyhow!("--from: no such file {}", from.display())));
    }
    Ok(())
}

pub fn backup(args: &BackupArgs) -> anyhow::Result<()> {
    let folder = DataFolder::existing(&args.data.data_dir).map_err(bad_store)?;
    let out = new_file(&args.out)?;
    let request = Request::Backup { out: out.clone() };
    in_process_or_by_asking(&folder, &request, async |stores, _| {
        backup_to(&stores.journal, &out).await
    })
    .map(drop)
}

pub fn rebuild(args: &RebuildArgs) -> anyhow::Result<()> {
    let differences = if let Some(url) = &args.store.database_url {
        let url = settings::postgres_url(url).map_err(bad_input)?;
        runtime()?.block_on(rebuild_in_database(&url, args.check))?
    } else {
        let folder = DataFolder::existing(&args.store.data.data_dir).map_err(bad_store)?;
        let request = if args.check { Request::Check } else { Request::Rebuild };
        in_process_or_by_asking(&folder, &request, async |stores, shown| {
            let Stores { journal, views, analytics, .. } = stores;
            make_or_check(&*journal, &*views, &analytics, args.check, shown).await
        })?
    };
    if differences > 0 {
        return Err(amiss(anyhow!(
            "the views or the analytics in use are not what the log makes of them"
        )));
    }
    Ok(())
}

/// Makes a cluster's views and analytics anew, or checks them, whichever processes use them meanwhile;
/// gives the number of differences.
async fn rebuild_in_database(url: &SecretString, check: bool) -> anyhow::Result<u64> {
    let opened = async {
        let database = Database::connect(url.expose_secret(), 8).await?;
        let journal = PostgresJournal::open(database.clone()).await?;
        let views = PostgresViews::open_reader(database.clone(), journal.id()).await?;
        PostgresAnalytics::migrate(&database).await?;
        // A check changes nothing, so it leaves those of another version as they are.
        let analytics = if check {
            PostgresAnalytics::reader(database, journal.id())
        } else {
            PostgresAnalytics::open(database, journal.id()).await?
        };
        anyhow::Ok((journal, views, Analytics::new(Arc::new(analytics))))
    };
    let (journal, views, analytics) = opened.await.context("DATABASE_URL").map_err(bad_store)?;
    let shown = Shown::default();
    let message = make_or_check(&journal, &views, &analytics, check, &shown).await;
    shown.end(message)
}

async fn make_or_check<V: Rebuildable>(
    journal: &dyn Journal,
    views: &V,
    analytics: &Analytics,
    check: bool,
    shown: &Shown,
) -> anyhow::Result<String> {
    let progress = |done, of| shown.progress(done, of);
    if check {
        let (sender, found) = mpsc::channel(DIFFERENCES);
        let checking = check_all(journal, views, analytics, progress, sender);
        let (compared, differences) = tokio::join!(checking, shown.differences(found));
        Ok(checked(compared?, differences))
    } else {
        rebuild_all(journal, views, analytics, progress).await
    }
}

pub fn restore(args: &RestoreArgs) -> anyhow::Result<()> {
    existing_file(&args.from)?;
    let folder = DataFolder::create(&args.data.data_dir).map_err(bad_store)?;
    let _lock = folder.lock().map_err(bad_store)?;
    if folder.journal().exists() {
        return Err(bad_store(anyhow!(
            "{} has a journal already: restore into an empty folder",
            folder.root().display()
        )));
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

/// Runs `work` on the folder's own stores, or has the server that uses them do it; gives the number
/// of differences that were found.
pub fn in_process_or_by_asking<W>(
    folder: &DataFolder,
    request: &Request,
    work: W,
) -> anyhow::Result<u64>
where
    W: AsyncFnOnce(Stores, &Shown) -> anyhow::Result<String>,
{
    let shown = Shown::default();
    let lock = folder.try_lock().map_err(bad_store)?;
    let message = runtime()?.block_on(async {
        if lock.is_none() {
            let told = |told| match told {
                Told::Progress { done, of } => shown.progress(done, of),
                Told::Difference(text) => shown.difference(&text),
            };
            return control::ask(&folder.control(), request, told).await;
        }
        if !folder.journal().exists() {
            return Err(bad_store(anyhow!("{} holds no journal", folder.root().display())));
        }
        work(Stores::open(folder).await.map_err(bad_store)?, &shown).await
    });
    shown.end(message)
}

/// What is shown while work goes on.
#[derive(Default)]
pub struct Shown {
    bar: Progress,
    differences: Cell<u64>,
}

impl Shown {
    fn progress(&self, done: u64, of: u64) {
        self.bar.show(done, of);
    }

    fn difference(&self, text: &str) {
        self.differences.set(self.differences.get() + 1);
        self.bar.pause(|| println!("{text}"));
    }

    async fn differences(&self, mut found: mpsc::Receiver<Difference>) -> u64 {
        while let Some(difference) = found.recv().await {
            self.difference(&difference.to_string());
        }
        self.differences.get()
    }

    /// Shows the last word, and gives the number of differences.
    fn end(self, message: anyhow::Result<String>) -> anyhow::Result<u64> {
        drop(self.bar);
        println!("{}", message?);
        Ok(self.differences.get())
    }
}

pub fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
}
