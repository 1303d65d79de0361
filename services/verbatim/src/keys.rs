//! The keys of personal content: where they come from, `verbatim keys` and `verbatim erase`.

use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;
use verbatim_bus::nats::NatsOptions;
use verbatim_bus::{Bus, Nats};
use verbatim_domain::erasure::EraseSubject;
use verbatim_domain::{ErasureCommand, StreamId, UserId};
use verbatim_journal::{Append, Appended, Journal, PostgresJournal};
use verbatim_keys::{
    KeyStore, MasterKey, PostgresKeys, SqliteKeyReader, SqliteKeys, Vault, to_erase,
};
use verbatim_postgres::Database;
use verbatim_protocol::command::COMMAND_DEADLINE_MS;
use verbatim_protocol::{Command, CommandEnvelope, CommandKey, Timestamp};

use crate::admin::{self, runtime};
use crate::cli::{BackupArgs, EraseArgs, KeysCommand, MasterKeyArgs, RestoreArgs, StoreArgs};
use crate::control::Request;
use crate::data::DataFolder;
use crate::lanes::Held;
use crate::refusal::{bad_input, bad_store};
use crate::settings::{self, Role};

/// Who gives the commands of the command line.
const ISSUER: &str = "$cli";

/// The keys of a log, to read it with.
pub async fn of_store(store: &StoreArgs, args: &MasterKeyArgs) -> anyhow::Result<Arc<Vault>> {
    let given = settings::master_key(args).map_err(bad_input)?;
    let lacking = "MASTER_KEY: is needed to read what is encrypted; --sealed leaves it so";
    let (keys, master): (Arc<dyn KeyStore>, _) = if let Some(url) = &store.database_url {
        let url = settings::postgres_url(url).map_err(bad_input)?;
        let Some(master) = given else {
            return Err(bad_input(anyhow!(lacking)));
        };
        let database = Database::connect(url.expose_secret(), 2).await;
        let database = database.context("DATABASE_URL").map_err(bad_store)?;
        (Arc::new(PostgresKeys::new(database)), master)
    } else {
        let folder = DataFolder::existing(&store.data.data_dir).map_err(bad_store)?;
        let keys = SqliteKeyReader::open(&folder.keys()).map_err(bad_store)?;
        let own = folder.existing_master_key().map_err(bad_store)?;
        let master = match (given, own) {
            (Some(given), _) => given,
            (None, Some(own)) => own.expose_secret().parse().map_err(bad_store)?,
            // Nothing was sealed here; any key will do.
            (None, None) if !folder.keys().exists() => {
                "00".repeat(32).parse().map_err(bad_store)?
            }
            (None, None) => return Err(bad_input(anyhow!(lacking))),
        };
        (Arc::new(keys), master)
    };
    let vault = Vault::open_to_read(keys, master).await;
    Ok(Arc::new(vault.context("MASTER_KEY").map_err(bad_store)?))
}

/// The master key that is given, or a folder's own.
pub fn of_folder(given: Option<MasterKey>, folder: &DataFolder) -> anyhow::Result<MasterKey> {
    if let Some(given) = given {
        return Ok(given);
    }
    let own = folder.master_key()?.expose_secret().parse();
    own.with_context(|| format!("the master key of {}", folder.root().display()))
}

pub fn run(command: &KeysCommand) -> anyhow::Result<()> {
    match command {
        KeysCommand::Backup(args) => backup(args),
        KeysCommand::Restore(args) => restore(args),
    }
}

fn backup(args: &BackupArgs) -> anyhow::Result<()> {
    let folder = DataFolder::existing(&args.data.data_dir).map_err(bad_store)?;
    let out = admin::new_file(&args.out)?;
    let request = Request::BackupKeys { out: out.clone() };
    admin::in_process_or_by_asking(&folder, &request, async |stores, _| {
        admin::backup_keys_to(&stores.keys, &out).await
    })
    .map(drop)
}

fn restore(args: &RestoreArgs) -> anyhow::Result<()> {
    admin::existing_file(&args.from)?;
    let folder = DataFolder::create(&args.data.data_dir).map_err(bad_store)?;
    let _lock = folder.lock().map_err(bad_store)?;
    runtime()?.block_on(async {
        let backup = SqliteKeyReader::open(&args.from).context("--from").map_err(bad_input)?;
        let keys = SqliteKeys::open(&folder.keys()).await.map_err(bad_store)?;
        let copied = verbatim_keys::copy(&backup, &keys).await.context("--from")?;
        keys.close().await?;
        println!("took {copied} keys into {}", folder.root().display());
        Ok(())
    })
}

pub fn erase(args: &EraseArgs) -> anyhow::Result<()> {
    let user = &args.user;
    if let Some(url) = &args.cluster.database_url {
        let url = settings::postgres_url(url).map_err(bad_input)?;
        let nats = args.cluster.nats_url.as_ref();
        let nats = nats.map(|nats| settings::nats(nats, &args.cluster, &Role::ALL)).transpose();
        let nats = nats.map_err(bad_input)?;
        println!("{}", runtime()?.block_on(erase_in_database(url, nats, user))?);
        return Ok(());
    }
    if args.cluster.nats_url.is_some() {
        return Err(bad_input(anyhow!("NATS_URL: is nothing without DATABASE_URL")));
    }
    let folder = DataFolder::existing(&args.data.data_dir).map_err(bad_store)?;
    let request = Request::Erase { user: user.clone() };
    admin::in_process_or_by_asking(&folder, &request, async |stores, _| {
        let journal = &*stores.journal;
        erase_in(&*stores.keys, user, async |erase| append(journal, erase, None).await).await
    })
    .map(drop)
}

/// Has the workers of a cluster erase it, or does it in their place if no NATS is given.
async fn erase_in_database(
    url: SecretString,
    nats: Option<NatsOptions>,
    user: &UserId,
) -> anyhow::Result<String> {
    let database = Database::connect(url.expose_secret(), 4).await;
    let database = database.context("DATABASE_URL").map_err(bad_store)?;
    let keys = PostgresKeys::new(database.clone());
    if let Some(nats) = nats {
        let nats = Nats::connect(nats).await.context("NATS_URL").map_err(bad_store)?;
        return erase_by(&nats, &keys, user).await;
    }
    let taken = async {
        let journal = Arc::new(PostgresJournal::open(database).await?);
        let held = Held::take(&journal).await?;
        anyhow::Ok((journal, held))
    };
    let (journal, held) = taken.await.context("DATABASE_URL").map_err(bad_store)?;
    let append = async |erase| append(&*journal, erase, Some(&held)).await;
    let erased = erase_in(&keys, user, append).await;
    // What isn't given up is free when its lease ends.
    drop(held.release().await);
    erased
}

/// Erases what a user has said in a system that runs.
pub async fn erase_by(bus: &dyn Bus, keys: &dyn KeyStore, user: &UserId) -> anyhow::Result<String> {
    erase_in(keys, user, async |erase| {
        let command_id = Uuid::now_v7();
        let reply = bus.send(CommandEnvelope {
            command_id,
            key: key(command_id),
            deadline: Timestamp(Timestamp::now().0 + COMMAND_DEADLINE_MS as i64),
            traceparent: None,
            command: Command::Erasures { command: ErasureCommand::EraseSubject(erase) },
        });
        match reply.await {
            Ok(_) => Ok(()),
            // Its answer may be what is missing.
            Err(failure) if failure.retryable => {
                bail!("{failure}: it may be erased, or not: erase again")
            }
            Err(failure) => bail!("nothing was erased: {failure}"),
        }
    })
    .await
}

fn key(command_id: Uuid) -> CommandKey {
    CommandKey { issuer: ISSUER.into(), key: command_id.to_string().into() }
}

/// Journals it, then destroys the keys.
async fn erase_in(
    keys: &dyn KeyStore,
    user: &UserId,
    journal: impl AsyncFnOnce(EraseSubject) -> anyhow::Result<()>,
) -> anyhow::Result<String> {
    let Some(to_destroy) = to_erase(keys, user).await? else {
        bail!("{user} has said nothing");
    };
    if to_destroy.is_empty() {
        return Ok(format!("what {user} had said was erased before"));
    }
    let erase =
        EraseSubject { subject_id: user.clone(), keys: to_destroy.clone(), erased_by: None };
    journal(erase).await?;
    keys.destroy(user, to_destroy).await.context("it is journalled, and done at the next start")?;
    Ok(format!("what {user} had said is erased"))
}

/// Appends it to a journal that no server writes to.
async fn append(
    journal: &dyn Journal,
    erase: EraseSubject,
    held: Option<&Held>,
) -> anyhow::Result<()> {
    const PAGE: usize = 500;
    let stream = StreamId::erasures();
    let mut expected = 0;
    loop {
        let page = journal.read_stream(&stream, expected, PAGE).await?;
        let Some(last) = page.last() else { break };
        expected = last.sequence;
    }
    let command_id = Uuid::now_v7();
    let events = verbatim_domain::Erasures::default()
        .decide(&ErasureCommand::EraseSubject(erase))
        .into_iter()
        .map(Into::into)
        .collect();
    let metadata = format!("{{\"commandId\":\"{command_id}\"}}").into();
    let append = Append { stream, expected, events, key: key(command_id), metadata };
    let appends = vec![append];
    let lanes = held.map_or_else(Vec::new, |held| held.progress(&appends));
    match journal.append_in_lanes(appends, lanes).await?.first() {
        Some(Appended::Committed(_)) => Ok(()),
        _ => bail!("the journal has changed meanwhile"),
    }
}

#[cfg(test)]
mod tests {
    use verbatim_domain::KeyId;
    use verbatim_journal::{Log, SqliteJournal};

    use super::*;

    #[tokio::test]
    async fn a_stopped_servers_log_takes_one_erasure_after_the_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let journal = SqliteJournal::open(&folder.path().join("journal.sqlite")).await;
        let journal = journal.expect("a journal");
        for number in 1..=3 {
            let keys = vec![KeyId(Uuid::from_u128(number))];
            let subject_id = "ann".parse().expect("an id");
            let erase = EraseSubject { subject_id, keys, erased_by: None };
            append(&journal, erase, None).await.expect("appended");
            assert_eq!(journal.head().await.expect("a head"), number as u64);
        }
    }
}
