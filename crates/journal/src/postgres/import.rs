//! Becoming the copy of another journal.

use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;
use sqlx::{Connection, PgConnection};
use verbatim_protocol::{JournalId, Recorded};

use super::PostgresJournal;
use crate::import::{another, follows_on};
use crate::{Error, Import};

#[async_trait]
impl Import for PostgresJournal {
    async fn adopt(&mut self, id: JournalId) -> Result<(), Error> {
        if self.id == id {
            return Ok(());
        }
        let query = sqlx::query(
            "update journal.journal set id = $1::uuid where not exists (select from journal.events)",
        )
        .bind(id.to_string());
        let adopted =
            self.database.run_to_end(|connection| Box::pin(query.execute(connection))).await?;
        if adopted.rows_affected() == 0 {
            return Err(another(self.id));
        }
        self.id = id;
        Ok(())
    }

    async fn import(&self, events: Vec<Arc<Recorded>>) -> Result<(), Error> {
        let payloads: Vec<_> = events
            .iter()
            .map(|recorded| recorded.payload().map(Cow::into_owned))
            .collect::<Result<_, _>>()
            .map_err(|error| Error::Corrupt(error.to_string()))?;
        let stored = self
            .database
            .run_to_end(|connection| {
                Box::pin(async move { store(connection, &events, &payloads).await })
            })
            .await?;
        stored.map_err(Error::Corrupt)
    }
}

/// What is wrong with the events, if anything.
async fn store(
    connection: &mut PgConnection,
    events: &[Arc<Recorded>],
    payloads: &[String],
) -> Result<Result<(), String>, sqlx::Error> {
    let Some(last) = events.last() else { return Ok(Ok(())) };
    let mut transaction = connection.begin().await?;
    sqlx::query("select journal.write_durably()").execute(&mut *transaction).await?;
    let head: i64 = sqlx::query_scalar("select position from journal.journal_head for update")
        .fetch_one(&mut *transaction)
        .await?;
    if let Err(wrong) = follows_on(head as u64, events) {
        return Ok(Err(wrong));
    }
    let keys = || events.iter().map(|event| event.command.as_ref());
    let of = |number: fn(&Recorded) -> i64| events.iter().map(|e| number(e)).collect::<Vec<_>>();
    let texts = |text: fn(&Recorded) -> &str| events.iter().map(|e| text(e)).collect::<Vec<_>>();
    sqlx::query(include_str!("import_events.sql"))
        .bind(texts(|event| event.stream.aggregate_type.as_str()))
        .bind(texts(|event| &event.stream.aggregate_id))
        .bind(of(|event| event.sequence as i64))
        .bind(texts(|event| event.event.event_type()))
        .bind(texts(|event| event.event_version()))
        .bind(payloads)
        .bind(texts(|event| &event.metadata))
        .bind(of(|event| event.position as i64))
        .bind(of(|event| event.recorded_at.0))
        .bind(keys().map(|key| key.map(|key| &*key.issuer)).collect::<Vec<_>>())
        .bind(keys().map(|key| key.map(|key| key.key.as_bytes())).collect::<Vec<_>>())
        .execute(&mut *transaction)
        .await?;
    sqlx::query("update journal.journal_head set position = $1, recorded_at = $2")
        .bind(last.position as i64)
        .bind(last.recorded_at.0)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(Ok(()))
}
