//! The one task that writes: it commits everything that waits in one transaction.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sqlx::Row;
use sqlx::sqlite::SqliteConnection;
use tokio::sync::{mpsc, oneshot};
use tracing::Instrument;
use verbatim_domain::StreamId;
use verbatim_protocol::{CommandKey, Recorded, Timestamp};
use verbatim_sqlite::{Database, begin, commit, rollback};

use super::Failed;
use super::heads::StreamHeads;
use super::rows::{NewRow, append_events, find_commands, find_heads, recorded};
use crate::import::follows_on;
use crate::prepared::Prepared;
use crate::{Appended, Error, Snapshot};

/// Past this many events no more requests are taken into a transaction. One request always is.
const EVENTS_IN_A_TRANSACTION: usize = 4_096;

/// Half of the stream heads that are remembered at most.
const HEADS_IN_A_GENERATION: usize = 65_536;

pub(super) enum Work {
    Append {
        appends: Vec<Prepared>,
        reply: oneshot::Sender<Result<Vec<Appended>, Error>>,
    },
    Snapshots {
        snapshots: Vec<Snapshot>,
        reply: oneshot::Sender<Result<(), Error>>,
    },
    /// Commits a mark, to show that it can be done.
    Check {
        reply: oneshot::Sender<Result<(), Error>>,
    },
    /// Another journal's events, as they are there.
    Import {
        events: Vec<Arc<Recorded>>,
        reply: oneshot::Sender<Result<(), Error>>,
    },
    /// Takes in no more, and ends once all that waits is done.
    Close,
}

impl Work {
    fn events(&self) -> usize {
        match self {
            Self::Append { appends, .. } => appends.iter().map(|append| append.events.len()).sum(),
            Self::Snapshots { snapshots, .. } => snapshots.len(),
            Self::Import { events, .. } => events.len(),
            Self::Check { .. } | Self::Close => 0,
        }
    }
}

/// What the writer knows of the file without asking it.
struct Known {
    head: u64,
    last_recorded_at: Timestamp,
    streams: StreamHeads,
}

pub(super) struct Writer {
    database: Arc<Database>,
    /// The head, for all to see.
    head: Arc<AtomicU64>,
    /// `None` from a failed transaction until the file has been asked what it holds.
    known: Option<Known>,
}

impl Writer {
    pub(super) async fn new(database: Arc<Database>) -> Result<Self, sqlx::Error> {
        let mut writer = Self { database, head: Arc::default(), known: None };
        writer.known = Some(writer.recover().await?);
        Ok(writer)
    }

    pub(super) fn head(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.head)
    }

    /// Commits what is handed in, in that order, until the queue is closed and empty.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Work>) {
        while let Some(first) = queue.recv().await {
            let mut events = first.events();
            let mut group = vec![first];
            while events < EVENTS_IN_A_TRANSACTION
                && let Ok(work) = queue.try_recv()
            {
                events += work.events();
                group.push(work);
            }
            if group.iter().any(|work| matches!(work, Work::Close)) {
                queue.close();
            }
            let span = tracing::debug_span!("journal.append", requests = group.len(), events);
            self.settle(group).instrument(span).await;
        }
    }

    async fn settle(&mut self, group: Vec<Work>) {
        let mut batches = Vec::with_capacity(group.len());
        let mut batch_replies = Vec::with_capacity(group.len());
        let mut snapshots = Vec::new();
        let mut check = false;
        let mut other_replies = Vec::new();
        let mut imports = Vec::new();
        for work in group {
            match work {
                Work::Append { appends, reply } => {
                    batches.push(appends);
                    batch_replies.push(reply);
                }
                Work::Snapshots { snapshots: mut some, reply } => {
                    snapshots.append(&mut some);
                    other_replies.push(reply);
                }
                Work::Check { reply } => {
                    check = true;
                    other_replies.push(reply);
                }
                Work::Import { events, reply } => imports.push((events, reply)),
                Work::Close => {}
            }
        }
        for (events, reply) in imports {
            drop(reply.send(self.import(events).await.map_err(Error::from)));
        }
        if batches.is_empty() && other_replies.is_empty() {
            return;
        }
        // Whoever no longer waits for its answer has dropped the other end; the outcome stands.
        match self.commit(batches, snapshots, check).await {
            Ok(outcomes) => {
                for (reply, outcome) in batch_replies.into_iter().zip(outcomes) {
                    drop(reply.send(Ok(outcome)));
                }
                for reply in other_replies {
                    drop(reply.send(Ok(())));
                }
            }
            Err(error) => {
                tracing::error!(%error, "nothing was committed to the journal");
                self.known = self.recover().await.ok();
                for reply in batch_replies {
                    drop(reply.send(Err(error.clone().into())));
                }
                for reply in other_replies {
                    drop(reply.send(Err(error.clone().into())));
                }
            }
        }
    }

    /// Stores events that follow on the head, numbers and all, in a transaction of their own.
    async fn import(&mut self, events: Vec<Arc<Recorded>>) -> Result<(), Failed> {
        // Whatever comes of it, the file is asked anew.
        self.known = None;
        let known = self.recover().await?;
        follows_on(known.head, &events).map_err(Failed::Corrupt)?;
        let mut rows = Vec::with_capacity(events.len());
        for recorded in events {
            let payload = recorded.event.payload();
            let payload = payload.map_err(|error| Failed::Corrupt(error.to_string()))?;
            rows.push(NewRow { recorded, payload });
        }
        let database = Arc::clone(&self.database);
        let mut connection = database.writer().lock().await;
        begin(&mut connection).await?;
        append_events(&mut connection, &mut rows).await?;
        commit(&mut connection).await?;
        drop(connection);
        self.known = Some(self.recover().await?);
        Ok(())
    }

    /// One transaction. What is known of the file is lost on the way out with an error.
    async fn commit(
        &mut self,
        batches: Vec<Vec<Prepared>>,
        snapshots: Vec<Snapshot>,
        check: bool,
    ) -> Result<Vec<Vec<Appended>>, Failed> {
        let mut known = match self.known.take() {
            Some(known) => known,
            None => self.recover().await?,
        };
        let database = Arc::clone(&self.database);
        let mut connection = database.writer().lock().await;
        begin(&mut connection).await?;
        let mut numbering = Numbering {
            head: known.head,
            recorded_at: Timestamp::now().max(known.last_recorded_at),
            used: used_keys(&mut connection, &batches).await?,
            heads: stream_heads(&mut connection, &mut known.streams, &batches).await?,
            rows: Vec::new(),
        };
        let outcomes: Vec<Vec<_>> = batches
            .into_iter()
            .map(|batch| {
                let mut void = HashSet::new();
                batch.into_iter().map(|append| numbering.add(append, &mut void)).collect()
            })
            .collect();
        append_events(&mut connection, &mut numbering.rows).await?;
        for snapshot in &snapshots {
            sqlx::query(include_str!("save_snapshot.sql"))
                .bind(snapshot.stream.aggregate_type.as_str())
                .bind(&*snapshot.stream.aggregate_id)
                .bind(snapshot.sequence as i64)
                .bind(&*snapshot.state)
                .execute(&mut *connection)
                .await?;
        }
        if check {
            sqlx::query("update journal set checked_at = ?")
                .bind(Timestamp::now().0)
                .execute(&mut *connection)
                .await?;
        }
        commit(&mut connection).await?;
        for (stream, head) in &numbering.heads {
            known.streams.set(stream, *head);
        }
        if !numbering.rows.is_empty() {
            known.head = numbering.head;
            known.last_recorded_at = numbering.recorded_at;
        }
        self.head.store(known.head, Ordering::Release);
        self.known = Some(known);
        Ok(outcomes)
    }

    /// Ends what may be left of a failed transaction, and asks the file what it holds.
    async fn recover(&mut self) -> Result<Known, sqlx::Error> {
        let mut connection = self.database.writer().lock().await;
        rollback(&mut connection).await?;
        // On a full disk this lets the log start over in the space that it has, unless the file
        // itself needs more.
        let folded = sqlx::query("pragma wal_checkpoint(passive)").execute(&mut *connection).await;
        if let Err(error) = folded {
            tracing::debug!(%error, "the write-ahead log was not folded in");
        }
        let last =
            sqlx::query(include_str!("read_head.sql")).fetch_optional(&mut *connection).await?;
        let (head, last_recorded_at) = match last {
            Some(row) => (row.try_get::<i64, _>(0)? as u64, Timestamp(row.try_get(1)?)),
            None => (0, Timestamp(0)),
        };
        self.head.store(head, Ordering::Release);
        Ok(Known { head, last_recorded_at, streams: StreamHeads::new(HEADS_IN_A_GENERATION) })
    }
}

/// The keys among these that the journal holds, with the last events of their commands.
async fn used_keys(
    connection: &mut SqliteConnection,
    batches: &[Vec<Prepared>],
) -> Result<HashMap<CommandKey, Arc<Recorded>>, Failed> {
    let keys: Vec<_> = batches.iter().flatten().map(|append| &append.key).collect();
    let found = find_commands(connection, &keys).await?;
    let mut used = HashMap::with_capacity(found.len());
    for row in found {
        let last = recorded(&row)?;
        if let Some(key) = &last.command {
            used.insert(key.clone(), last);
        }
    }
    Ok(used)
}

/// The heads of all the streams that these follow on.
async fn stream_heads(
    connection: &mut SqliteConnection,
    known: &mut StreamHeads,
    batches: &[Vec<Prepared>],
) -> Result<HashMap<StreamId, u64>, sqlx::Error> {
    let mut heads = HashMap::new();
    let mut unknown = HashSet::new();
    for append in batches.iter().flatten() {
        if !heads.contains_key(&append.stream) && !unknown.contains(&append.stream) {
            match known.get(&append.stream) {
                Some(head) => drop(heads.insert(append.stream.clone(), head)),
                None => drop(unknown.insert(append.stream.clone())),
            }
        }
    }
    let unknown: Vec<_> = unknown.into_iter().collect();
    let found = find_heads(connection, &unknown).await?;
    heads.extend(unknown.into_iter().zip(found));
    Ok(heads)
}

/// What a transaction is about to add, checked and numbered in order.
struct Numbering {
    head: u64,
    recorded_at: Timestamp,
    used: HashMap<CommandKey, Arc<Recorded>>,
    heads: HashMap<StreamId, u64>,
    rows: Vec<NewRow>,
}

impl Numbering {
    /// Adds what can be. Streams in which something couldn't are `void` for the rest of the batch.
    fn add(&mut self, mut append: Prepared, void: &mut HashSet<StreamId>) -> Appended {
        if let Some(original) = self.used.get(&append.key) {
            return Appended::Duplicate(Arc::clone(original));
        }
        let head = self.heads.get_mut(&append.stream).expect("all streams' heads were loaded");
        if *head != append.expected || void.contains(&append.stream) {
            void.insert(append.stream);
            return Appended::Conflict;
        }
        let key = append.key.clone();
        let payloads = std::mem::take(&mut append.payloads);
        let committed = append.recorded(self.head + 1, self.recorded_at);
        self.head += committed.len() as u64;
        *head += committed.len() as u64;
        for (recorded, payload) in committed.iter().zip(payloads) {
            self.rows.push(NewRow { recorded: Arc::clone(recorded), payload });
        }
        if let Some(last) = committed.last() {
            self.used.insert(key, Arc::clone(last));
        }
        Appended::Committed(committed)
    }
}
