//! The log that a command reads, wherever it lies and whoever writes it meanwhile.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use secrecy::ExposeSecret;
use verbatim_audit::{OpenedLog, Range, Selection, range};
use verbatim_journal::{Log, PostgresJournal, Rows, SqliteLog};
use verbatim_postgres::Database;
use verbatim_seal::{PostgresSeal, SqliteSeal, Store};

use crate::cli::{MasterKeyArgs, OpeningArgs, SelectArgs, StoreArgs};
use crate::data::DataFolder;
use crate::keys;
use crate::refusal::{bad_input, bad_store};
use crate::settings;

/// Events that are read at once.
pub const PAGE: usize = 2_000;

/// Opens the log for reading, with messages as they were said, unless they are to stay sealed.
pub async fn open(store: &StoreArgs, opening: &OpeningArgs) -> anyhow::Result<Arc<dyn Log>> {
    if opening.sealed {
        return open_stored(store).await;
    }
    open_with(store, &opening.master_key).await
}

/// Opens the log for reading, with messages as they were said.
pub async fn open_with(store: &StoreArgs, key: &MasterKeyArgs) -> anyhow::Result<Arc<dyn Log>> {
    let log = open_stored(store).await?;
    Ok(Arc::new(OpenedLog::new(log, keys::of_store(store, key).await?)))
}

/// Opens the log for reading, as it is stored. Nothing of it is changed, and no writer waits.
pub async fn open_stored(args: &StoreArgs) -> anyhow::Result<Arc<dyn Log>> {
    match &args.database_url {
        Some(url) => {
            let url = settings::postgres_url(url).map_err(bad_input)?;
            let opened = async {
                let database = Database::connect(url.expose_secret(), 4).await?;
                anyhow::Ok(PostgresJournal::open(database).await?)
            };
            Ok(Arc::new(opened.await.context("DATABASE_URL").map_err(bad_store)?))
        }
        None => Ok(Arc::new(in_folder(&args.data.data_dir).await.map_err(bad_store)?)),
    }
}

/// The log's rows, and what was sealed of them, if anything was.
pub type Sealed = (Arc<dyn Rows>, Option<Arc<dyn Store>>);

/// Opens log and seal for reading.
pub async fn open_sealed(args: &StoreArgs) -> anyhow::Result<Sealed> {
    match &args.database_url {
        Some(url) => {
            let url = settings::postgres_url(url).map_err(bad_input)?;
            let opened = async {
                let database = Database::connect(url.expose_secret(), 4).await?;
                let store = PostgresSeal::find(database.clone()).await?;
                let store = store.map(|store| Arc::new(store) as Arc<dyn Store>);
                let rows: Arc<dyn Rows> = Arc::new(PostgresJournal::open(database).await?);
                anyhow::Ok((rows, store))
            };
            opened.await.context("DATABASE_URL").map_err(bad_store)
        }
        None => sealed_in_folder(&args.data.data_dir).await.map_err(bad_store),
    }
}

async fn sealed_in_folder(path: &Path) -> anyhow::Result<Sealed> {
    let rows: Arc<dyn Rows> = Arc::new(in_folder(path).await?);
    let seal = DataFolder::existing(path)?.seal();
    if !seal.exists() {
        return Ok((rows, None));
    }
    let store = SqliteSeal::open_reader(&seal)?;
    Ok((rows, Some(Arc::new(store))))
}

async fn in_folder(path: &Path) -> anyhow::Result<SqliteLog> {
    let journal = DataFolder::existing(path)?.journal();
    if !journal.exists() {
        return Err(anyhow!("{} holds no journal", path.display()));
    }
    Ok(SqliteLog::open(&journal).await?)
}

/// Which part of the log.
pub async fn range(log: &dyn Log, args: &SelectArgs) -> anyhow::Result<Range> {
    Range::settle(log, args.from, args.to).await.map_err(settled)
}

/// Whether a range can't be settled because of what it is, or because of the log.
pub fn settled(error: range::Error) -> anyhow::Error {
    match error {
        range::Error::Bad(bad) => bad_input(bad),
        range::Error::Journal(error) => error.into(),
    }
}

impl From<&SelectArgs> for Selection {
    fn from(args: &SelectArgs) -> Self {
        Self {
            types: args.types.clone(),
            conversations: args.conversations.clone(),
            users: args.users.clone(),
            actors: Vec::new(),
        }
    }
}
