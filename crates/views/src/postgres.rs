//! The read models in the schema `views` of a `PostgreSQL` database.
//!
//! One process writes them, the others only read. Who writes moves the checkpoint by comparing it
//! first, in the transaction of the changes: of two that believe it is their turn, one finds that
//! there is nothing left to do.
//!
//! The changes wait for the disk, although the views could be made anew: readers in other processes
//! rely on a checkpoint that they have seen, so it must not go back when the server crashes.

mod apply;
mod compare;
mod queries;
mod rebuild;
mod rows;
mod schema;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::Connection;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout_at};
use verbatim_domain::{ConversationId, MessageId, NotificationId, UserId};
use verbatim_postgres::Database;
use verbatim_protocol::client::{Conversation, Delivery, Message, Notification, Page};
use verbatim_protocol::{JournalId, Push, Recorded};

use crate::batch::{Batch, following};
use crate::{Error, Members, MessageRange, PageRequest, StreamMessage, Views, clamp};
use apply::Refused;
use schema::Schema;

/// How often the database is asked how far the views are, by all who wait together.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// [`Views`] in a database that other processes use, too.
#[derive(Debug)]
pub struct PostgresViews {
    database: Database,
    journal: JournalId,
    /// The last one known; others may have moved it since.
    checkpoint: Arc<AtomicU64>,
    /// When the database was last asked for it. Held while it is asked, so that one asks for all.
    asked: Mutex<Option<Instant>>,
}

impl PostgresViews {
    /// Makes the tables where they are missing, or an older version's. Several may call this at once.
    ///
    /// # Errors
    /// [`Error::Unavailable`], also when a newer version made them.
    pub async fn migrate(database: &Database) -> Result<(), Error> {
        schema::migrate(database).await
    }

    /// Opens the views of a journal to write them. Those of another journal or an older version are
    /// replaced by empty ones.
    ///
    /// # Errors
    /// [`Error::Unavailable`], also when a newer version made them.
    pub async fn open(database: Database, journal: JournalId) -> Result<Self, Error> {
        let checkpoint = schema::open(&database, journal).await?;
        Ok(Self::new(database, journal, checkpoint))
    }

    /// Opens the views of a journal to read them. Until they have been opened to be written, queries
    /// find nothing or another journal's: whoever needs more waits for a position
    /// ([`Views::reached`]), which fails until then.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn open_reader(database: Database, journal: JournalId) -> Result<Self, Error> {
        let views = Self::new(database, journal, 0);
        match views.ask_checkpoint().await {
            // Whose they are shows when a position is waited for.
            Ok(_) | Err(Error::Behind) => Ok(views),
            Err(error) => Err(error),
        }
    }

    fn new(database: Database, journal: JournalId, checkpoint: u64) -> Self {
        let checkpoint = Arc::new(AtomicU64::new(checkpoint));
        Self { database, journal, checkpoint, asked: Mutex::new(None) }
    }

    /// How far the views are, as the database knows.
    async fn ask_checkpoint(&self) -> Result<u64, Error> {
        let found = self.database.run(|connection| Box::pin(schema::look(connection))).await?;
        // Another journal's, or none yet: the projector will make them.
        let checkpoint = found.checkpoint(self.journal).ok_or(Error::Behind)?;
        self.checkpoint.fetch_max(checkpoint, Ordering::AcqRel);
        Ok(checkpoint)
    }

    async fn wait_for(&self, position: u64) -> Result<(), Error> {
        let mut pause = FIRST_PAUSE;
        loop {
            {
                let mut asked = self.asked.lock().await;
                if self.checkpoint() >= position {
                    return Ok(());
                }
                if asked.is_none_or(|at| at.elapsed() >= FIRST_PAUSE) {
                    match self.ask_checkpoint().await {
                        Ok(_) | Err(Error::Behind) => {}
                        Err(error) => return Err(error),
                    }
                    *asked = Some(Instant::now());
                }
                if self.checkpoint() >= position {
                    return Ok(());
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// Stores the changes of `events`, which follow on `from`, and moves the checkpoint. `false` if that
/// isn't the checkpoint.
async fn store(
    database: &Database,
    schema: Schema,
    journal: JournalId,
    from: u64,
    events: Vec<Arc<Recorded>>,
) -> Result<bool, Error> {
    let Some(through) = events.last().map(|last| last.position) else { return Ok(true) };
    let stored = database
        .run_to_end(move |connection| {
            Box::pin(async move {
                let mut transaction = connection.begin().await?;
                schema::hold(&mut transaction).await?;
                sqlx::query(schema.durability()).execute(&mut *transaction).await?;
                let sql = "update views.source set checkpoint = $2
                       where checkpoint = $1 and journal = $3";
                let moved = sqlx::query(&schema.of(sql))
                    .bind(from as i64)
                    .bind(through as i64)
                    .bind(journal.0.as_bytes().to_vec())
                    .execute(&mut *transaction)
                    .await?;
                if moved.rows_affected() == 0 {
                    transaction.rollback().await?;
                    return Ok(Ok(false));
                }
                let outcome = match Batch::of(events.iter().map(AsRef::as_ref)) {
                    Ok(batch) => batch.store_in(schema, &mut transaction).await,
                    Err(error) => Err(Refused::Corrupt(error.to_string())),
                };
                match outcome {
                    Ok(()) => {
                        transaction.commit().await?;
                        Ok(Ok(true))
                    }
                    Err(Refused::Corrupt(why)) => {
                        transaction.rollback().await?;
                        Ok(Err(why))
                    }
                    Err(Refused::Sql(error)) => {
                        transaction.rollback().await.ok();
                        Err(error)
                    }
                }
            })
        })
        .await?;
    stored.map_err(Error::Corrupt)
}

#[async_trait]
impl Views for PostgresViews {
    fn checkpoint(&self) -> u64 {
        self.checkpoint.load(Ordering::Acquire)
    }

    async fn apply(&self, events: &[Arc<Recorded>]) -> Result<(), Error> {
        loop {
            let from = self.checkpoint();
            let events = following(from, events)?;
            let Some(last) = events.last() else { return Ok(()) };
            // In a task, so that whoever gives up leaves what is known as it is stored.
            let (database, journal) = (self.database.clone(), self.journal);
            let (known, through) = (Arc::clone(&self.checkpoint), last.position);
            let events = events.to_vec();
            let applying = tokio::spawn(async move {
                let stored = store(&database, Schema::Live, journal, from, events).await?;
                if stored {
                    known.fetch_max(through, Ordering::AcqRel);
                }
                Ok::<_, Error>(stored)
            });
            let stored = applying.await.map_err(|error| Error::Unavailable(Box::new(error)))??;
            if stored {
                return Ok(());
            }
            // Somebody else has gone on; or a commit that was lost was one all the same.
            match self.ask_checkpoint().await {
                Ok(checkpoint) if checkpoint > from => {}
                Ok(checkpoint) => {
                    return Err(Error::Corrupt(format!(
                        "the views went back from position {from} to {checkpoint}"
                    )));
                }
                Err(Error::Behind) => {
                    return Err(Error::Corrupt("the views are another journal's".to_owned()));
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn reached(&self, position: u64, within: Duration) -> Result<(), Error> {
        if self.checkpoint() >= position {
            return Ok(());
        }
        match timeout_at(Instant::now() + within, self.wait_for(position)).await {
            Ok(reached) => reached,
            Err(_) => Err(Error::Behind),
        }
    }

    async fn conversation(
        &self,
        reader: &UserId,
        id: &ConversationId,
    ) -> Result<Option<Conversation>, Error> {
        queries::conversation(&self.database, reader, id).await
    }

    async fn conversations(
        &self,
        reader: &UserId,
        page: &PageRequest,
    ) -> Result<Page<Conversation>, Error> {
        queries::conversations(&self.database, self.journal, reader, page).await
    }

    async fn members(
        &self,
        ids: &[ConversationId],
    ) -> Result<HashMap<ConversationId, Members>, Error> {
        queries::members(&self.database, ids).await
    }

    async fn is_member(&self, id: &ConversationId, user: &UserId) -> Result<Option<bool>, Error> {
        queries::is_member(&self.database, id, user).await
    }

    async fn messages(
        &self,
        id: &ConversationId,
        range: &MessageRange,
    ) -> Result<Page<Message>, Error> {
        queries::messages(&self.database, self.journal, id, range).await
    }

    async fn message(&self, id: MessageId) -> Result<Option<StreamMessage>, Error> {
        queries::message(&self.database, id).await
    }

    async fn stream(
        &self,
        user: &UserId,
        after: u64,
        through: u64,
        limit: u32,
    ) -> Result<Vec<StreamMessage>, Error> {
        queries::stream(&self.database, user, after, through, clamp(limit)).await
    }

    async fn pushes(&self, after: u64, through: u64, limit: u32) -> Result<Vec<Push>, Error> {
        queries::pushes(&self.database, after, through, clamp(limit)).await
    }

    async fn delivered_through(&self, user: &UserId) -> Result<u64, Error> {
        queries::delivered_through(&self.database, user).await
    }

    async fn notifications(
        &self,
        user: &UserId,
        unread_only: bool,
        page: &PageRequest,
    ) -> Result<Page<Notification>, Error> {
        queries::notifications(&self.database, self.journal, user, unread_only, page).await
    }

    async fn unread_notifications(&self, user: &UserId) -> Result<u64, Error> {
        queries::unread(&self.database, user).await
    }

    async fn foreign_notifications(
        &self,
        user: &UserId,
        ids: &[NotificationId],
    ) -> Result<Vec<NotificationId>, Error> {
        queries::foreign(&self.database, user, ids).await
    }

    async fn deliveries(
        &self,
        id: MessageId,
    ) -> Result<Option<(ConversationId, Vec<Delivery>)>, Error> {
        queries::deliveries(&self.database, id).await
    }
}
