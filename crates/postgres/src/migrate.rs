//! Bringing a schema up to date.

use std::borrow::Cow;

use sqlx::Executor;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};

use crate::{Database, Error};

/// Brings one of the database's schemas up to date, and makes it where it is missing. Each
/// migration is what it does and its SQL; each schema keeps its own list of what was done. Several may call this at once: one does it, the others wait
/// and find it done.
///
/// # Errors
/// [`Error::Migrate`], also when a newer version made the schema.
pub async fn migrate(
    database: &Database,
    schema: &'static str,
    migrations: &[(&str, &str)],
) -> Result<(), Error> {
    let failed = |source| Error::Migrate { schema, source };
    // A connection of its own: one that has another search path is never lent again.
    let mut connection = database.acquire().await?.detach();
    let prepare = format!(
        "select pg_advisory_lock(hashtext('verbatim schema'));
         create schema if not exists {schema};
         set search_path = {schema}"
    );
    // Not by `RawSql::execute`, whose future can't be sent to another thread.
    connection
        .execute(prepare.as_str())
        .await
        .map_err(|error| failed(MigrateError::Execute(error)))?;
    // The lock ends with the connection.
    migrator(migrations).run_direct(&mut connection).await.map_err(failed)
}

/// Numbered as they stand.
fn migrator(migrations: &[(&str, &str)]) -> Migrator {
    let numbered = (1..).zip(migrations).map(|(number, (description, sql))| {
        let description = Cow::Owned((*description).to_owned());
        let sql = Cow::Owned((*sql).to_owned());
        Migration::new(number, description, MigrationType::Simple, sql, false)
    });
    Migrator { migrations: numbered.collect(), ..Migrator::DEFAULT }
}
