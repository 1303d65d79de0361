//! `verbatim dead-letters`: commands that could not be handled and were set aside.

use std::io::Write;

use anyhow::{Context, bail};
use secrecy::ExposeSecret;
use serde_json::json;
use uuid::Uuid;
use verbatim_bus::{Bus, Nats};
use verbatim_journal::PostgresJournal;
use verbatim_journal::postgres::SetAside;
use verbatim_postgres::Database;
use verbatim_protocol::command::COMMAND_DEADLINE_MS;
use verbatim_protocol::{CommandEnvelope, Timestamp};

use crate::admin::runtime;
use crate::cli::{ClusterArgs, DeadLettersCommand, MigrateArgs};
use crate::settings::{self, Role};

/// How many are read at once.
const PAGE: usize = 200;

pub fn run(command: DeadLettersCommand) -> anyhow::Result<()> {
    runtime()?.block_on(async {
        match command {
            DeadLettersCommand::List(args) => list(&open(&args).await?).await,
            DeadLettersCommand::Retry { cluster, id } => retry(&cluster, id).await,
            DeadLettersCommand::Drop { database, id } => {
                let journal = open(&database).await?;
                remove(&journal, id).await?;
                println!("removed {id}");
                Ok(())
            }
        }
    })
}

async fn open(args: &MigrateArgs) -> anyhow::Result<PostgresJournal> {
    let url = settings::postgres_url(&args.database_url)?;
    let database = Database::connect(url.expose_secret(), 2).await.context("DATABASE_URL")?;
    Ok(PostgresJournal::open(database).await?)
}

async fn list(journal: &PostgresJournal) -> anyhow::Result<()> {
    let mut after = 0;
    let mut out = std::io::stdout().lock();
    loop {
        let page = journal.dead_letters(after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = last.id;
        for letter in &page {
            writeln!(out, "{}", described(letter))?;
        }
    }
}

/// What operators see of one: nothing that a client said.
fn described(letter: &SetAside) -> serde_json::Value {
    let command = serde_json::from_slice::<CommandEnvelope>(&letter.letter.command).ok();
    json!({
        "id": letter.id,
        "lane": letter.lane,
        "setAsideAt": letter.set_aside_at,
        "reason": letter.letter.reason,
        "bytes": letter.letter.command.len(),
        "commandId": command.as_ref().map(|command| command.command_id),
        "aggregate": command.map(|command| command.command.stream().to_string()),
    })
}

async fn retry(cluster: &ClusterArgs, id: i64) -> anyhow::Result<()> {
    let (Some(database_url), Some(nats_url)) = (&cluster.database_url, &cluster.nats_url) else {
        bail!("DATABASE_URL and NATS_URL: both are needed, to hand the command to its aggregate");
    };
    let journal = open(&MigrateArgs { database_url: database_url.clone() }).await?;
    let letter = find(&journal, id).await?;
    let mut command: CommandEnvelope = serde_json::from_slice(&letter.letter.command)
        .context("it is no command that this version can read")?;
    // It is another try of the same: the key makes it once for ever.
    command.command_id = Uuid::now_v7();
    command.deadline = Timestamp(Timestamp::now().0 + COMMAND_DEADLINE_MS as i64);
    let bus =
        Nats::connect(settings::nats(nats_url, cluster, &Role::ALL)?).await.context("NATS_URL")?;
    match bus.send(command).await {
        Ok(committed) => {
            remove(&journal, id).await?;
            println!("carried out at position {}, and removed {id}", committed.position);
            Ok(())
        }
        Err(failure) => bail!("not carried out: {failure}; {id} stays"),
    }
}

async fn find(journal: &PostgresJournal, id: i64) -> anyhow::Result<SetAside> {
    let page = journal.dead_letters(id.saturating_sub(1), 1).await?;
    match page.into_iter().find(|letter| letter.id == id) {
        Some(letter) => Ok(letter),
        None => bail!("there is no dead letter {id}"),
    }
}

async fn remove(journal: &PostgresJournal, id: i64) -> anyhow::Result<()> {
    if journal.remove_dead_letter(id).await? {
        Ok(())
    } else {
        bail!("there is no dead letter {id}")
    }
}
