//! The views in use held against rebuilt ones, in one transaction that sees both.

use std::sync::Arc;

use async_trait::async_trait;
use futures::TryStreamExt;
use serde_json::{Map, Value};
use sqlx::postgres::PgConnection;
use sqlx::{Executor, Row};
use tokio::sync::mpsc;
use verbatim_protocol::Recorded;

use super::apply::Refused;
use super::schema::Schema;
use crate::batch::{Batch, following};
use crate::difference::{Column, TABLES, told};
use crate::{Comparison, Difference, Error};

/// The transaction waits for the journal, which may take longer than others may.
const BEGIN: &str = "begin isolation level repeatable read; \
     set local idle_in_transaction_session_timeout = '60s'";

/// Ends without a commit: what it has taken in was for its own eyes.
pub(super) struct PostgresComparison {
    connection: PgConnection,
    checkpoint: u64,
    rebuilt: u64,
}

impl PostgresComparison {
    /// The transaction shows the views in use as of its first statement; what it takes into the
    /// rebuilt ones, it sees. `rebuilt` is what those show.
    pub async fn begin(mut connection: PgConnection, rebuilt: u64) -> Result<Self, Error> {
        (&mut connection).execute(BEGIN).await.map_err(failed)?;
        let checkpoint: Option<i64> = sqlx::query_scalar("select checkpoint from views.source")
            .fetch_optional(&mut connection)
            .await
            .map_err(failed)?;
        let Some(checkpoint) = checkpoint.map(|checkpoint| checkpoint as u64) else {
            return Err(Error::Unavailable("nobody has made the views yet".into()));
        };
        if checkpoint < rebuilt {
            return Err(Error::Behind);
        }
        Ok(Self { connection, checkpoint, rebuilt })
    }
}

#[async_trait]
impl Comparison for PostgresComparison {
    fn checkpoint(&self) -> u64 {
        self.checkpoint
    }

    async fn apply(&mut self, events: &[Arc<Recorded>]) -> Result<(), Error> {
        let events = following(self.rebuilt, events)?;
        let Some(last) = events.last() else { return Ok(()) };
        let batch = Batch::of(events.iter().map(AsRef::as_ref))?;
        match batch.store_in(Schema::Next, &mut self.connection).await {
            Ok(()) => {}
            Err(Refused::Sql(error)) => return Err(failed(error)),
            Err(Refused::Corrupt(what)) => return Err(Error::Corrupt(what)),
        }
        self.rebuilt = last.position;
        Ok(())
    }

    async fn differences(
        mut self: Box<Self>,
        tell: &mpsc::Sender<Difference>,
    ) -> Result<(), Error> {
        for (table, keys) in TABLES {
            let sql = format!(
                "select to_jsonb(live)::text, to_jsonb(rebuilt)::text
                 from views.{table} as live
                 full join views_next.{table} as rebuilt using ({})
                 where to_jsonb(live) is distinct from to_jsonb(rebuilt)",
                keys.join(", ")
            );
            let mut rows = sqlx::query(&sql).fetch(&mut self.connection);
            while let Some(row) = rows.try_next().await.map_err(failed)? {
                let (live, rebuilt) = (object(row.try_get(0))?, object(row.try_get(1))?);
                told(tell, Difference::of(table, keys, &columns(live.as_ref(), rebuilt.as_ref())))
                    .await?;
            }
        }
        Ok(())
    }
}

fn object(text: Result<Option<&str>, sqlx::Error>) -> Result<Option<Map<String, Value>>, Error> {
    let parsed = text.map_err(failed)?.map(serde_json::from_str).transpose();
    parsed.map_err(|error| Error::Corrupt(error.to_string()))
}

fn columns(live: Option<&Map<String, Value>>, rebuilt: Option<&Map<String, Value>>) -> Vec<Column> {
    let names = live.or(rebuilt).into_iter().flat_map(Map::keys);
    let value = |row: Option<&Map<String, Value>>, name: &str| {
        row.and_then(|row| row.get(name)).map(ToString::to_string)
    };
    names
        .map(|name| Column {
            name: name.clone(),
            live: value(live, name),
            rebuilt: value(rebuilt, name),
        })
        .collect()
}

fn failed(error: sqlx::Error) -> Error {
    verbatim_postgres::Error::Refused(error).into()
}
