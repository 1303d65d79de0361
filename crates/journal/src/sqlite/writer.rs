//! The one who writes: it commits everything that waits in one transaction.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use tokio::sync::oneshot;
use verbatim_domain::StreamId;
use verbatim_protocol::{CommandKey, Recorded, Timestamp};

use super::Failed;
use super::heads::StreamHeads;
use super::recent::{Entries, Recent};
use super::rows::{
    NewRow, Place, append_events, enter, find_command, find_head, place, read_position,
};
use crate::import::follows_on;
use crate::prepared::Prepared;
use crate::{Appended, Error, Snapshot};

/// Past this many events no more requests are taken into a transaction. One request always is.
const EVENTS_IN_A_TRANSACTION: usize = 4_096;

/// Half of the stream heads that are remembered at most.
const HEADS_IN_A_GENERATION: usize = 65_536;

#[derive(Debug)]
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
}

impl Work {
    fn events(&self) -> usize {
        match self {
            Self::Append { appends, .. } => appends.iter().map(|append| append.events.len()).sum(),
            Self::Snapshots { snapshots, .. } => snapshots.len(),
            Self::Import { events, .. } => events.len(),
            Self::Check { .. } => 0,
        }
    }
}

/// What the writer knows of the file without asking it.
#[derive(Debug)]
struct Known {
    head: u64,
    last_recorded_at: Timestamp,
    streams: StreamHeads,
    /// All events up to this position are in the index tables.
    indexed: u64,
}

/// What waits to be written, and what is known of what was.
#[derive(Debug, Default)]
pub(super) struct Writer {
    waiting: Mutex<VecDeque<Work>>,
    /// The last position.
    pub head: AtomicU64,
    /// The keys that are in no index table yet.
    recent: RwLock<Recent>,
    pub is_closed: AtomicBool,
    /// `None` from a failed transaction until the file has been asked what it holds. Held by who
    /// writes.
    known: Mutex<Option<Known>>,
}

impl Writer {
    /// Puts work with what waits. [`settle`](Self::settle) is to be called after it.
    pub fn wait(&self, work: Work) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push_back(work);
    }

    /// Asks the file what it holds.
    pub fn open(&self, connection: &mut Connection) -> Result<(), Failed> {
        *self.known() = Some(self.recover(connection)?);
        Ok(())
    }

    /// Commits what waits, in that order. Whoever comes after may find that nothing does.
    pub fn settle(&self, connection: &mut Connection) {
        let mut group = Vec::new();
        let mut events = 0;
        {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            while events < EVENTS_IN_A_TRANSACTION
                && let Some(work) = waiting.pop_front()
            {
                events += work.events();
                group.push(work);
            }
        }
        if !group.is_empty() {
            let span = tracing::debug_span!("journal.append", requests = group.len(), events);
            let _entered = span.enter();
            self.settle_group(connection, group);
        }
    }

    fn settle_group(&self, connection: &mut Connection, group: Vec<Work>) {
        let mut known = self.known();
        let mut batches = Vec::with_capacity(group.len());
        let mut batch_replies = Vec::with_capacity(group.len());
        let mut snapshots = Vec::new();
        let mut check = false;
        let mut other_replies = Vec::new();
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
                Work::Import { events, reply } => {
                    let imported = self.import(connection, &mut known, events);
                    drop(reply.send(imported.map_err(Error::from)));
                }
            }
        }
        if batches.is_empty() && other_replies.is_empty() {
            return;
        }
        // Whoever no longer waits for its answer has dropped the other end; the outcome stands.
        match self.commit(connection, &mut known, batches, &snapshots, check) {
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
                *known = self.recover(connection).ok();
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
    fn import(
        &self,
        connection: &mut Connection,
        slot: &mut Option<Known>,
        events: Vec<Arc<Recorded>>,
    ) -> Result<(), Failed> {
        // What follows is entered at once, so that a key which is there already is noticed.
        if slot.as_ref().is_none_or(|known| known.indexed < known.head) {
            self.enter_all(connection, slot)?;
        }
        let mut known = self.take(connection, slot)?;
        follows_on(known.head, &events).map_err(Failed::Corrupt)?;
        let Some(last) = events.last().cloned() else { return Ok(()) };
        let mut keys = Recent::after(known.head);
        keys.add(events.iter().map(AsRef::as_ref));
        let entries = keys.all(last.position);
        let mut rows = Vec::with_capacity(events.len());
        for recorded in events {
            let payload = recorded.payload();
            let payload = payload.map_err(|error| Failed::Corrupt(error.to_string()))?.into_owned();
            known.streams.set(&recorded.stream, recorded.sequence);
            rows.push(NewRow { recorded, payload });
        }
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        append_events(&transaction, &rows)?;
        store_keys(&transaction, &entries, &known)?;
        transaction.commit()?;
        (known.head, known.last_recorded_at) = (last.position, last.recorded_at);
        *slot = Some(self.committed(known, &entries));
        Ok(())
    }

    /// Enters all keys, so that the next start need not look for them.
    pub fn finish(&self, connection: &mut Connection) {
        if let Err(error) = self.enter_all(connection, &mut self.known()) {
            tracing::debug!(%error, "the next start reads what the index tables lack");
        }
    }

    fn enter_all(
        &self,
        connection: &mut Connection,
        slot: &mut Option<Known>,
    ) -> Result<(), Failed> {
        let known = self.take(connection, slot)?;
        let entries = self.recent().all(known.head);
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        store_keys(&transaction, &entries, &known)?;
        transaction.commit()?;
        *slot = Some(self.committed(known, &entries));
        Ok(())
    }

    /// What is known, to be given back once all went well.
    fn take(&self, connection: &mut Connection, slot: &mut Option<Known>) -> Result<Known, Failed> {
        match slot.take() {
            Some(known) => Ok(known),
            None => self.recover(connection),
        }
    }

    /// One transaction. What is known of the file is lost on the way out with an error.
    fn commit(
        &self,
        connection: &mut Connection,
        slot: &mut Option<Known>,
        batches: Vec<Vec<Prepared>>,
        snapshots: &[Snapshot],
        check: bool,
    ) -> Result<Vec<Vec<Appended>>, Failed> {
        let mut known = self.take(connection, slot)?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut numbering = Numbering {
            head: known.head,
            recorded_at: Timestamp::now().max(known.last_recorded_at),
            used: self.used_keys(&transaction, &batches)?,
            heads: self.stream_heads(&transaction, &mut known.streams, &batches)?,
            rows: Vec::new(),
        };
        let outcomes: Vec<Vec<_>> = batches
            .into_iter()
            .map(|batch| {
                let mut void = HashSet::new();
                batch.into_iter().map(|append| numbering.add(append, &mut void)).collect()
            })
            .collect();
        let entries = {
            let mut recent = self.recent_mut();
            recent.add(numbering.rows.iter().map(|row| &*row.recorded));
            recent.sweep(numbering.rows.len() as u64, numbering.head)
        };
        append_events(&transaction, &numbering.rows)?;
        store_keys(&transaction, &entries, &known)?;
        for snapshot in snapshots {
            let mut save = transaction.prepare_cached(include_str!("save_snapshot.sql"))?;
            save.execute(params![
                snapshot.stream.aggregate_type.as_str(),
                &*snapshot.stream.aggregate_id,
                snapshot.sequence as i64,
                snapshot.state,
            ])?;
        }
        if check {
            transaction.execute("update journal set checked_at = ?", [Timestamp::now().0])?;
        }
        transaction.commit()?;
        for (stream, head) in &numbering.heads {
            known.streams.set(stream, *head);
        }
        if !numbering.rows.is_empty() {
            known.head = numbering.head;
            known.last_recorded_at = numbering.recorded_at;
        }
        *slot = Some(self.committed(known, &entries));
        Ok(outcomes)
    }

    /// Notes what has been committed.
    fn committed(&self, mut known: Known, entered: &Entries) -> Known {
        self.recent_mut().forget(entered);
        known.indexed = entered.indexed;
        self.head.store(known.head, Ordering::Release);
        known
    }

    /// Asks the file what it holds.
    fn recover(&self, connection: &mut Connection) -> Result<Known, Failed> {
        let last = connection
            .query_row(include_str!("read_head.sql"), [], |row| {
                Ok((row.get::<_, i64>(0)? as u64, Timestamp(row.get(1)?)))
            })
            .optional()?;
        let (head, last_recorded_at) = last.unwrap_or((0, Timestamp(0)));
        let indexed =
            connection.query_row("select indexed from journal", [], |row| row.get::<_, i64>(0))?;
        let indexed = indexed as u64;
        *self.recent_mut() = read_recent(connection, indexed)?;
        self.head.store(head, Ordering::Release);
        let streams = StreamHeads::new(HEADS_IN_A_GENERATION);
        Ok(Known { head, last_recorded_at, streams, indexed })
    }

    /// The keys among these that the journal holds, with the last events of their commands.
    fn used_keys(
        &self,
        connection: &Connection,
        batches: &[Vec<Prepared>],
    ) -> Result<HashMap<CommandKey, Arc<Recorded>>, Failed> {
        let recent = self.recent();
        let mut used = HashMap::new();
        for append in batches.iter().flatten() {
            let last = match recent.of_command(&append.key) {
                Some(position) => read_position(connection, position)?,
                None => find_command(connection, &append.key)?,
            };
            if let Some(last) = last {
                used.insert(append.key.clone(), last);
            }
        }
        Ok(used)
    }

    /// The heads of all the streams that these follow on.
    fn stream_heads(
        &self,
        connection: &Connection,
        known: &mut StreamHeads,
        batches: &[Vec<Prepared>],
    ) -> Result<HashMap<StreamId, u64>, rusqlite::Error> {
        let recent = self.recent();
        let mut heads = HashMap::new();
        for append in batches.iter().flatten() {
            let stream = &append.stream;
            if heads.contains_key(stream) {
                continue;
            }
            let last = || recent.of_stream(stream, 0).next_back();
            let head = match known.get(stream).or_else(|| last().map(|(sequence, _)| sequence)) {
                Some(head) => head,
                None => find_head(connection, stream)?,
            };
            heads.insert(stream.clone(), head);
        }
        Ok(heads)
    }

    pub fn recent(&self) -> RwLockReadGuard<'_, Recent> {
        self.recent.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn recent_mut(&self) -> RwLockWriteGuard<'_, Recent> {
        self.recent.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self) -> MutexGuard<'_, Option<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Enters keys in the index tables, and how far these go then.
fn store_keys(
    connection: &Connection,
    entries: &Entries,
    known: &Known,
) -> Result<(), rusqlite::Error> {
    enter(connection, entries)?;
    if entries.indexed > known.indexed {
        connection.execute("update journal set indexed = ?", [entries.indexed as i64])?;
    }
    Ok(())
}

/// The keys of the events above a position that are in no table.
fn read_recent(connection: &Connection, indexed: u64) -> Result<Recent, Failed> {
    let mut recent = Recent::after(indexed);
    let mut read = connection.prepare(include_str!("read_recent.sql"))?;
    let mut rows = read.query([indexed as i64])?;
    while let Some(row) = rows.next()? {
        let Place { position, stream, sequence, command } = place(row)?;
        let entered = |column| row.get::<_, Option<i64>>(column).map(|at| at.map(|at| at as u64));
        let at = entered(6)?.or_else(|| recent.add_to_stream(stream.clone(), sequence, position));
        if at.is_some_and(|at| at != position) {
            return Err(Failed::Corrupt(format!(
                "at position {position}: sequence {sequence} of {stream} again"
            )));
        }
        let Some(key) = command else { continue };
        let at = entered(7)?.or_else(|| recent.add_command(key, position));
        if at.is_some_and(|at| at != position) {
            return Err(Failed::Corrupt(format!("at position {position}: a key again")));
        }
    }
    Ok(recent)
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
