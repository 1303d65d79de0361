//! `verbatim migrate`: brings `PostgreSQL`'s schemas up to date, which `serve` does at its start too.

use anyhow::Context;
use secrecy::ExposeSecret;
use verbatim_analytics::PostgresAnalytics;
use verbatim_journal::PostgresJournal;
use verbatim_keys::PostgresKeys;
use verbatim_postgres::Database;
use verbatim_seal::PostgresSeal;
use verbatim_state::PostgresState;
use verbatim_views::PostgresViews;

use crate::admin::runtime;
use crate::cli::MigrateArgs;
use crate::settings;

pub fn run(args: &MigrateArgs) -> anyhow::Result<()> {
    let url = settings::postgres_url(&args.database_url)?;
    runtime()?.block_on(async {
        let database = Database::connect(url.expose_secret(), 2).await.context("DATABASE_URL")?;
        all(&database).await
    })?;
    println!("the schemas are up to date");
    Ok(())
}

/// Brings all schemas up to date. Several processes may do it at once.
///
/// # Errors
/// Also when a newer version made one of them.
pub async fn all(database: &Database) -> anyhow::Result<()> {
    PostgresJournal::migrate(database).await?;
    PostgresState::migrate(database).await?;
    PostgresSeal::migrate(database).await?;
    PostgresViews::migrate(database).await?;
    PostgresKeys::migrate(database).await?;
    PostgresAnalytics::migrate(database).await?;
    Ok(())
}
