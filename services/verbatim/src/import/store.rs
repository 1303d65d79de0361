//! Where history goes: a data folder that no server uses, or a cluster's database that no aggregate
//! worker writes to. Nobody else decides about a conversation meanwhile.

use std::sync::Arc;

use anyhow::{Context, anyhow};
use secrecy::ExposeSecret;
use verbatim_journal::{Append, Appended, Journal, PostgresJournal, SqliteJournal};
use verbatim_keys::{KeyStore, MasterKey, PostgresKeys, SqliteKeys, Vault};
use verbatim_postgres::Database;
use verbatim_projection::destroy_erased;

use crate::cli::ImportArgs;
use crate::data::{DataFolder, Lock};
use crate::keys;
use crate::lanes::Held;
use crate::migrate;
use crate::refusal::{bad_input, bad_store};
use crate::settings;

const CONNECTIONS: u32 = 8;

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
        let given = settings::master_key(&args.master_key).map_err(bad_input)?;
        match &args.store.database_url {
            Some(url) => Self::database(args, url, given).await,
            None => Self::folder(args, given).await.map_err(bad_store),
        }
    }

    async fn database(
        args: &ImportArgs,
        url: &str,
        given: Option<MasterKey>,
    ) -> anyhow::Result<Self> {
        let url = settings::postgres_url(url).map_err(bad_input)?;
        if given.is_none() && !args.check {
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
        let keys = match given.filter(|_| !args.check) {
            Some(key) => {
                let vault = open_keys(store, key).await?;
                destroy_erased(&*journal, &vault).await.map_err(bad_store)?;
                Some(Arc::new(vault))
            }
            None => None,
        };
        Ok(Self::Database { journal, keys, lanes: None })
    }

    async fn folder(args: &ImportArgs, given: Option<MasterKey>) -> anyhow::Result<Self> {
        let path = &args.store.data.data_dir;
        if args.check && !path.join("journal.sqlite").exists() {
            return Ok(Self::Nowhere);
        }
        let folder = DataFolder::create(path)?;
        let lock = folder.lock()?;
        let journal = Arc::new(SqliteJournal::open(&folder.journal()).await?);
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
            *lanes = Some(Held::take(journal).await.context("DATABASE_URL").map_err(bad_store)?);
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
            Self::Database { lanes, .. } => match lanes {
                Some(held) => held.release().await,
                None => Ok(()),
            },
        }
    }
}

async fn open_keys(store: Arc<dyn KeyStore>, key: MasterKey) -> anyhow::Result<Vault> {
    Vault::open(store, key).await.context("MASTER_KEY").map_err(bad_store)
}
