//! `verbatim copy`: moves a log from a data folder to a cluster's database, or back.
//!
//! Numbers, times, ids and keys stay as they are, and the copy takes the journal's identity, so that
//! clients' cursors stay good. Everything else is made anew from the log: views rebuild, reactors
//! begin at its end, so nothing is pushed or notified again.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow, bail, ensure};
use secrecy::ExposeSecret;
use verbatim_journal::{Import, Log, PostgresJournal, SqliteJournal};
use verbatim_keys::{KeyStore, PostgresKeys, SqliteKeys};
use verbatim_postgres::Database;
use verbatim_protocol::JournalId;

use crate::admin::runtime;
use crate::cli::CopyArgs;
use crate::data::{DataFolder, Lock};
use crate::lanes::Held;
use crate::migrate;
use crate::progress::Progress;
use crate::refusal::{bad_input, bad_store};
use crate::settings;

/// Events read and written at once.
const PAGE: usize = 2_000;

pub fn run(args: &CopyArgs) -> anyhow::Result<()> {
    let from = place(&args.from).context("--from").map_err(bad_input)?;
    let to = place(&args.to).context("--to").map_err(bad_input)?;
    runtime()?.block_on(async {
        let source = from.open().await.context("--from").map_err(bad_store)?;
        let id = source.journal.id();
        let target = to.open_copy(id).await.context("--to").map_err(bad_store)?;
        let copied = copy_all(&from, &*source.journal, &to, &*target.journal).await;
        let closed = target.close().await;
        copied?;
        closed
    })
}

/// Copies keys and events, and verifies the copy.
async fn copy_all(
    from: &Place<'_>,
    source: &dyn Log,
    to: &Place<'_>,
    target: &dyn Import,
) -> anyhow::Result<()> {
    let (begun, head) = (target.head().await?, source.head().await?);
    if begun > head {
        return Err(bad_input(anyhow!(
            "--to: holds {begun} events, --from only {head}: it is no copy of an earlier state"
        )));
    }
    if let Some(difference) = first_difference(source, target, 0, begun).await? {
        return Err(bad_input(anyhow!("--to: {difference}")));
    }
    // Before the events, so that what is copied can be read, by whoever has the master key.
    let keys = verbatim_keys::copy(&*from.keys().await?, &*to.keys().await?).await;
    let keys = keys.context("copying the keys of personal content")?;
    copy(source, target, begun, head).await?;
    verify(source, target, begun, head).await?;
    let grown = source.head().await?;
    if grown > head {
        println!("{} events came meanwhile: stop what writes there, and copy again", grown - head);
    }
    println!("copied {keys} keys, which the same master key opens");
    println!("copied {} events, {begun} were there; all {head} are the same", head - begun);
    Ok(())
}

/// Where a log is, or is to be.
pub enum Place<'a> {
    Folder(&'a Path),
    Database(secrecy::SecretString),
}

pub fn place(text: &str) -> anyhow::Result<Place<'_>> {
    if let Some(path) = text.strip_prefix("sqlite:") {
        ensure!(!path.is_empty(), "names no folder, as in sqlite:./data");
        // The file's name may stand behind its folder.
        let path = Path::new(path.strip_prefix("//").unwrap_or(path));
        let is_file = path.file_name().is_some_and(|name| name == "journal.sqlite");
        let folder = path.parent().filter(|_| is_file).unwrap_or(path);
        return Ok(Place::Folder(if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        }));
    }
    if text.starts_with("postgres") {
        return settings::postgres_url(text).map(Place::Database);
    }
    bail!("must be sqlite:FOLDER or postgres://…")
}

/// A journal to read, which nobody writes to meanwhile if it is a folder's.
struct Source {
    journal: Box<dyn Log>,
    _lock: Option<Lock>,
}

impl Place<'_> {
    async fn open(&self) -> anyhow::Result<Source> {
        match self {
            Self::Folder(path) => {
                let folder = DataFolder::existing(path)?;
                let lock = folder.lock()?;
                ensure!(folder.journal().exists(), "{} holds no journal", path.display());
                let journal = SqliteJournal::open(&folder.journal()).await?;
                Ok(Source { journal: Box::new(journal), _lock: Some(lock) })
            }
            Self::Database(url) => {
                let journal = PostgresJournal::open(connect(url).await?).await?;
                Ok(Source { journal: Box::new(journal), _lock: None })
            }
        }
    }

    /// The keys of personal content. Call with the folder's lock held.
    async fn keys(&self) -> anyhow::Result<Box<dyn KeyStore>> {
        Ok(match self {
            Self::Folder(path) => {
                Box::new(SqliteKeys::open(&DataFolder::existing(path)?.keys()).await?)
            }
            Self::Database(url) => Box::new(PostgresKeys::new(connect(url).await?)),
        })
    }

    /// The journal that is to be the copy, made where it is missing.
    pub async fn open_copy(&self, id: JournalId) -> anyhow::Result<Target> {
        match self {
            Self::Folder(path) => {
                let folder = DataFolder::create(path)?;
                let lock = folder.lock()?;
                let mut journal = SqliteJournal::open(&folder.journal()).await?;
                journal.adopt(id).await?;
                Ok(Target { journal: Box::new(journal), hold: Hold::Folder { _lock: lock } })
            }
            Self::Database(url) => {
                let database = connect(url).await?;
                migrate::all(&database).await?;
                let shared = Arc::new(PostgresJournal::open(database.clone()).await?);
                let held = Held::take(&shared).await?;
                let mut journal = PostgresJournal::open(database).await?;
                if let Err(another) = journal.adopt(id).await {
                    // What isn't given up is free when its lease ends.
                    drop(held.release().await);
                    return Err(another.into());
                }
                Ok(Target { journal: Box::new(journal), hold: Hold::Database(held) })
            }
        }
    }
}

/// A journal that is to be a copy, and that nobody else writes to.
pub struct Target {
    pub journal: Box<dyn Import>,
    hold: Hold,
}

enum Hold {
    Folder { _lock: Lock },
    Database(Held),
}

impl Target {
    /// Lets others write to it.
    pub async fn close(self) -> anyhow::Result<()> {
        match self.hold {
            Hold::Folder { .. } => Ok(()),
            Hold::Database(held) => held.release().await,
        }
    }
}

async fn connect(url: &secrecy::SecretString) -> anyhow::Result<Database> {
    Ok(Database::connect(url.expose_secret(), 4).await?)
}

/// Copies what lies above `begun`, up to `head`.
pub async fn copy(from: &dyn Log, to: &dyn Import, begun: u64, head: u64) -> anyhow::Result<()> {
    let bar = Progress::default();
    let mut done = begun;
    while done < head {
        let limit = PAGE.min((head - done) as usize);
        let page = from.read_after(done, limit).await?;
        let last = page.last().context("the log ends before its head")?.position;
        to.import(page).await?;
        done = last;
        bar.show(done, head);
    }
    Ok(())
}

/// Holds every event of the copy that lies above `after`, up to `head`, against its original.
pub async fn verify(from: &dyn Log, to: &dyn Log, after: u64, head: u64) -> anyhow::Result<()> {
    match first_difference(from, to, after, head).await? {
        Some(difference) => bail!(difference),
        None => Ok(()),
    }
}

/// What is the first thing that makes it no copy, if anything does.
pub async fn first_difference(
    from: &dyn Log,
    to: &dyn Log,
    after: u64,
    head: u64,
) -> anyhow::Result<Option<String>> {
    let bar = Progress::default();
    let mut done = after;
    while done < head {
        let limit = PAGE.min((head - done) as usize);
        let (one, other) =
            tokio::try_join!(from.read_after(done, limit), to.read_after(done, limit))?;
        let differs = |(one, other): &(&Arc<_>, &Arc<_>)| one != other;
        if let Some((one, _)) = one.iter().zip(&other).find(differs) {
            return Ok(Some(format!(
                "position {} of the copy is another event: it is no copy of this log",
                one.position
            )));
        }
        if one.len() != other.len() || one.is_empty() {
            return Ok(Some(format!("the copy ends at position {}", done + other.len() as u64)));
        }
        done += one.len() as u64;
        bar.show(done, head);
    }
    Ok(None)
}
