//! One aggregate's whole history, as postgres-es reads it.

use std::io;

use cqrs_es::persist::{PersistedEventRepository, PersistenceError, SerializedEvent};
use postgres_es::PostgresEventRepository;
use sqlx::postgres::{PgPool, PgPoolOptions};
use verbatim_domain::{
    AggregateType, Audit, Connections, Conversation, Erasures, Event, Inbox, StreamId,
};
use verbatim_postgres::PATIENCE;

use super::PostgresJournal;
use crate::Error;

/// Events that are held in memory at once.
const PAGE: u64 = 500;

impl PostgresJournal {
    /// Goes through all events of one aggregate, from the first, past all snapshots: for whoever
    /// rebuilds or examines a single aggregate. Gives back the last event's sequence. What a worker
    /// loads goes through [`read_stream`](crate::Log::read_stream).
    ///
    /// # Errors
    /// [`Error`]; what `each` was handed by then came in order and without a hole.
    pub async fn replay(
        &self,
        stream: &StreamId,
        mut each: impl FnMut(Event) + Send,
    ) -> Result<u64, Error> {
        // postgres-es sets no bound to its waits: a connection that hangs must not be another's next.
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(PATIENCE)
            .connect_lazy_with((*self.database.pool().connect_options()).clone());
        let mut sequence = 0;
        loop {
            let page = tokio::time::timeout(PATIENCE, read_page(&pool, stream, sequence))
                .await
                .map_err(|_| {
                    Error::Unavailable(Box::new(io::Error::from(io::ErrorKind::TimedOut)))
                })?
                .map_err(failed)?;
            if page.is_empty() {
                pool.close().await;
                return Ok(sequence);
            }
            for stored in page {
                sequence += 1;
                each(decode(stream, sequence, &stored)?);
            }
        }
    }
}

/// The events above a sequence, of which postgres-es reads all: so it is shown only a page's.
async fn read_page(
    pool: &PgPool,
    stream: &StreamId,
    after: u64,
) -> Result<Vec<SerializedEvent>, PersistenceError> {
    let events =
        format!("(select * from journal.events where sequence <= {}) as events", after + PAGE);
    let repository =
        PostgresEventRepository::new(pool.clone()).with_tables(&events, "journal.snapshots");
    let (id, after) = (&stream.aggregate_id, after as usize);
    match stream.aggregate_type {
        AggregateType::Conversation => repository.get_last_events::<Conversation>(id, after).await,
        AggregateType::Inbox => repository.get_last_events::<Inbox>(id, after).await,
        AggregateType::Audit => repository.get_last_events::<Audit>(id, after).await,
        AggregateType::Erasures => repository.get_last_events::<Erasures>(id, after).await,
        AggregateType::Connections => repository.get_last_events::<Connections>(id, after).await,
    }
}

fn decode(stream: &StreamId, expected: u64, stored: &SerializedEvent) -> Result<Event, Error> {
    let SerializedEvent { sequence, event_type, event_version, payload, .. } = stored;
    if *sequence as u64 != expected {
        return Err(Error::Corrupt(format!("{stream} has {sequence} instead of {expected}")));
    }
    Event::decode(stream.aggregate_type, event_type, event_version, &payload.to_string())
        .map_err(|error| Error::Corrupt(format!("{stream}, sequence {sequence}: {error}")))
}

fn failed(error: PersistenceError) -> Error {
    match error {
        PersistenceError::DeserializationError(error) => Error::Corrupt(error.to_string()),
        other => Error::Unavailable(Box::new(other)),
    }
}
