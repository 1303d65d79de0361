//! Where history goes: a data folder that no server uses, or a cluster's database that no aggregate
//! worker writes to. Nobody else decides about a conversation meanwhile.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use secrecy::ExposeSecret;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use uuid::Uuid;
use verbatim_domain::LANES;
use verbatim_journal::{
    Append, Appended, Claim, Journal, LaneProgress, Lanes, PostgresJournal, SqliteJournal,
};
use verbatim_keys::{KeyStore, MasterKey, PostgresKeys, SqliteKeys, Vault};
use verbatim_postgres::Database;
use verbatim_projection::destroy_erased;

use crate::cli::ImportArgs;
use crate::data::{DataFolder, Lock};
use crate::keys;
use crate::migrate;
use crate::refusal::{bad_input, bad_store};
use crate::settings;

const CONNECTIONS: u32 = 8;

/// How long the lanes stay this process's after it was last heard. Shorter than a worker's: nobody
/// waits for its answer.
const LEASE: Duration = Duration::from_secs(4);
const RENEW_EVERY: Duration = Duration::from_secs(1);

/// How soon it is asked for lanes again that it hasn't got.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

pub enum Store {
    /// There is none yet, and nothing is to be written.
    Nowhere,
    Folder {
        journal: Arc<SqliteJournal>,
        /// None, if nothing is to be written.
        keys: Option<Arc<Vault>>,
        _lock: Lock,
    },
    Database {
        journal: Arc<PostgresJournal>,
        /// None, if nothing is to be written.
        keys: Option<Arc<Vault>>,
        lanes: Option<Held>,
    },
}

impl Store {
    pub async fn open(args: &ImportArgs) -> anyhow::Result<Self> {
        match &args.store.database_url {
            Some(url) => {
                let url = settings::postgres_url(url).map_err(bad_input)?;
                let master_key = settings::master_key(&args.master_key).map_err(bad_input)?;
                if master_key.is_none() && !args.check {
                    return Err(bad_input(anyhow!("MASTER_KEY: is needed to seal what was said")));
                }
                let opened = async {
                    let database = Database::connect(url.expose_secret(), CONNECTIONS).await?;
                    if !args.check {
                        migrate::all(&database).await?;
                    }
                    let store = Arc::new(PostgresKeys::new(database.clone()));
                    anyhow::Ok((Arc::new(PostgresJournal::open(database).await?), store))
                };
                let (journal, store) = opened.await.context("DATABASE_URL").map_err(bad_store)?;
                let keys = match master_key.filter(|_| !args.check) {
                    Some(key) => {
                        let vault = open_keys(store, key).await?;
                        destroy_erased(&*journal, &vault).await.map_err(bad_store)?;
                        Some(Arc::new(vault))
                    }
                    None => None,
                };
                Ok(Self::Database { journal, keys, lanes: None })
            }
            None => Self::folder(args).await.map_err(bad_store),
        }
    }

    async fn folder(args: &ImportArgs) -> anyhow::Result<Self> {
        let path = &args.store.data.data_dir;
        if args.check && !path.join("journal.sqlite").exists() {
            return Ok(Self::Nowhere);
        }
        let folder = DataFolder::create(path)?;
        let lock = folder.lock()?;
        let journal = Arc::new(SqliteJournal::open(&folder.journal()).await?);
        let given = settings::master_key(&args.master_key)?;
        let keys = if args.check {
            None
        } else {
            let store = Arc::new(SqliteKeys::open(&folder.keys()).await?);
            let vault = open_keys(store, keys::of_folder(given, &folder)?).await?;
            destroy_erased(&*journal, &vault).await?;
            Some(Arc::new(vault))
        };
        Ok(Self::Folder { journal, keys, _lock: lock })
    }

    /// The journal, unless there is none or it is empty.
    pub async fn filled(&self) -> anyhow::Result<Option<Arc<dyn Journal>>> {
        let Some(journal) = self.journal() else { return Ok(None) };
        Ok(if journal.head().await? > 0 { Some(journal) } else { None })
    }

    fn journal(&self) -> Option<Arc<dyn Journal>> {
        match self {
            Self::Nowhere => None,
            Self::Folder { journal, .. } => Some(journal.clone()),
            Self::Database { journal, .. } => Some(journal.clone()),
        }
    }

    /// Takes it for this process.
    pub async fn take(&mut self) -> anyhow::Result<()> {
        if let Self::Database { journal, lanes, .. } = self {
            *lanes = Some(Held::take(journal).await?);
        }
        Ok(())
    }

    /// The keys of those who said what is brought in.
    pub fn keys(&self) -> Arc<Vault> {
        match self {
            Self::Folder { keys: Some(keys), .. } | Self::Database { keys: Some(keys), .. } => {
                keys.clone()
            }
            _ => unreachable!("what is written to has keys"),
        }
    }

    /// The journal of one that was taken.
    pub fn taken(&self) -> Arc<dyn Journal> {
        self.journal().expect("what is written to is there")
    }

    /// Appends in one transaction, as long as the store is this process's.
    pub async fn append(&self, appends: Vec<Append>) -> anyhow::Result<Vec<Appended>> {
        let lanes = match self {
            Self::Database { lanes: Some(held), .. } => held.progress(&appends),
            _ => Vec::new(),
        };
        if appends.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self.taken().append_in_lanes(appends, lanes).await?)
    }

    pub async fn close(self) -> anyhow::Result<()> {
        match self {
            Self::Nowhere => Ok(()),
            Self::Folder { journal, .. } => Ok(journal.close().await?),
            Self::Database { journal, lanes, .. } => match lanes {
                Some(held) => held.release(&journal).await,
                None => Ok(()),
            },
        }
    }
}

async fn open_keys(store: Arc<dyn KeyStore>, key: MasterKey) -> anyhow::Result<Vault> {
    Vault::open(store, key).await.context("MASTER_KEY").map_err(bad_store)
}

/// All lanes, for as long as their lease is renewed.
pub struct Held {
    claims: Vec<Claim>,
    renewing: JoinHandle<()>,
}

impl Held {
    async fn take(journal: &Arc<PostgresJournal>) -> anyhow::Result<Self> {
        // Asked first, so that workers don't make room for one who won't stay.
        ensure!(journal.check_writable().await.is_err(), in_use());
        let worker = Uuid::now_v7();
        // A worker that ended a moment ago may count as living until its lease has run out.
        let patience = Instant::now() + verbatim_aggregate::Settings::default().lease;
        let claims = loop {
            let owned = journal.renew(worker, LEASE).await?.owned;
            let claims: Vec<_> = owned.into_iter().map(|owned| owned.claim).collect();
            if claims.len() == usize::from(LANES) {
                break claims;
            }
            if Instant::now() >= patience {
                journal.release(&claims).await?;
                return Err(in_use());
            }
            sleep(LOOK_AGAIN).await;
        };
        let renewing = tokio::spawn(renew(Arc::clone(journal), worker));
        Ok(Self { claims, renewing })
    }

    /// What fences an append, for the lanes that it is in.
    fn progress(&self, appends: &[Append]) -> Vec<LaneProgress> {
        let is_needed =
            |claim: &&Claim| appends.iter().any(|append| append.stream.lane() == claim.lane);
        let progress =
            |claim: &Claim| LaneProgress { claim: *claim, cursor: None, dead: Vec::new() };
        self.claims.iter().filter(is_needed).map(progress).collect()
    }

    async fn release(self, journal: &PostgresJournal) -> anyhow::Result<()> {
        self.renewing.abort();
        Ok(journal.release(&self.claims).await?)
    }
}

/// Says that this process lives. If it can't, its appends are fenced in time.
async fn renew(journal: Arc<PostgresJournal>, worker: Uuid) {
    loop {
        sleep(RENEW_EVERY).await;
        if let Err(error) = journal.renew(worker, LEASE).await {
            tracing::debug!(%error, "the lanes' leases were not renewed");
        }
    }
}

fn in_use() -> anyhow::Error {
    bad_store(anyhow!(
        "DATABASE_URL: aggregate workers write to it: stop them, wait ten seconds, and import again; \
         gateways and projection workers may go on"
    ))
}
