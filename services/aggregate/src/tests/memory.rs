//! A journal in memory, with the failures of a real one on request.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use tokio::sync::watch;
use uuid::Uuid;
use verbatim_domain::StreamId;
use verbatim_journal::{
    Append, Appended, Error, Journal, LaneProgress, Latest, Log as _, Snapshot,
};
use verbatim_protocol::{CommandKey, JournalId, Recorded, Timestamp};

/// What the next append does instead of what it should.
#[derive(Debug, Clone, Copy)]
pub enum Mishap {
    /// Nothing is committed.
    Fail,
    /// All is committed, and nobody hears of it.
    LoseTheAnswer,
    /// Another writer got between, for each of the batch.
    Conflict,
    Corrupt,
    Panic,
}

#[derive(Default)]
pub struct MemoryJournal {
    log: Mutex<Log>,
    mishaps: Mutex<VecDeque<Mishap>>,
    is_held: watch::Sender<bool>,
    is_down: AtomicBool,
    goes_down_after_append: AtomicBool,
    refusals: AtomicU64,
    /// Streams that can't be read; those whose reading panics.
    damaged: Mutex<HashMap<StreamId, bool>>,
    /// The sizes of the appends that have begun, in commands.
    begun: Mutex<Vec<usize>>,
    pub stream_reads: AtomicU64,
    pub events_read: AtomicU64,
}

#[derive(Default)]
struct Log {
    events: Vec<Arc<Recorded>>,
    streams: HashMap<StreamId, Vec<Arc<Recorded>>>,
    keys: HashMap<CommandKey, Arc<Recorded>>,
    snapshots: HashMap<StreamId, Snapshot>,
}

impl MemoryJournal {
    pub fn next_append(&self, mishap: Mishap) {
        self.mishaps.lock().expect("no panic").push_back(mishap);
    }

    /// Appends begin, but don't go on until `release`.
    pub fn hold(&self) {
        self.is_held.send_replace(true);
    }

    pub fn release(&self) {
        self.is_held.send_replace(false);
    }

    /// While it is down, everything fails.
    pub fn set_down(&self, is_down: bool) {
        self.is_down.store(is_down, Ordering::Relaxed);
    }

    /// It goes down between an append and whatever comes next.
    pub fn go_down_after_append(&self) {
        self.goes_down_after_append.store(true, Ordering::Relaxed);
    }

    /// From now on a stream can't be read, or panics when it is.
    pub fn damage(&self, stream: StreamId, panics: bool) {
        self.damaged.lock().expect("no panic").insert(stream, panics);
    }

    /// Whether anybody has met it down.
    pub fn has_refused(&self) -> bool {
        self.refusals.load(Ordering::Relaxed) > 0
    }

    pub fn begun(&self) -> Vec<usize> {
        self.begun.lock().expect("no panic").clone()
    }

    pub fn events(&self) -> Vec<Arc<Recorded>> {
        self.log().events.clone()
    }

    pub fn snapshot(&self, stream: &StreamId) -> Option<Snapshot> {
        self.log().snapshots.get(stream).cloned()
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().expect("no panic")
    }

    fn check_up(&self) -> Result<(), Error> {
        if self.is_down.load(Ordering::Relaxed) {
            self.refusals.fetch_add(1, Ordering::Relaxed);
            return Err(unavailable());
        }
        Ok(())
    }
}

impl Log {
    fn append(&mut self, append: Append) -> Appended {
        if let Some(original) = self.keys.get(&append.key) {
            return Appended::Duplicate(Arc::clone(original));
        }
        let stream = self.streams.entry(append.stream.clone()).or_default();
        if stream.len() as u64 != append.expected {
            return Appended::Conflict;
        }
        let mut committed = Vec::new();
        let last = append.events.len() - 1;
        for (n, event) in append.events.into_iter().enumerate() {
            let recorded = Arc::new(Recorded {
                position: self.events.len() as u64 + 1,
                stream: append.stream.clone(),
                sequence: stream.len() as u64 + 1,
                recorded_at: Timestamp::now(),
                command: (n == last).then(|| append.key.clone()),
                metadata: Arc::clone(&append.metadata),
                event,
                original: None,
            });
            self.events.push(Arc::clone(&recorded));
            stream.push(Arc::clone(&recorded));
            if n == last {
                self.keys.insert(append.key.clone(), Arc::clone(&recorded));
            }
            committed.push(recorded);
        }
        Appended::Committed(committed)
    }
}

fn unavailable() -> Error {
    Error::Unavailable("on request".into())
}

#[async_trait]
impl verbatim_journal::Log for MemoryJournal {
    fn id(&self) -> JournalId {
        JournalId(Uuid::from_u128(1))
    }

    async fn head(&self) -> Result<u64, Error> {
        self.check_up()?;
        Ok(self.log().events.len() as u64)
    }

    async fn read_after(&self, after: u64, limit: usize) -> Result<Vec<Arc<Recorded>>, Error> {
        self.check_up()?;
        Ok(self.log().events.iter().skip(after as usize).take(limit).cloned().collect())
    }

    async fn read_stream(
        &self,
        stream: &StreamId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Arc<Recorded>>, Error> {
        tokio::task::yield_now().await;
        self.check_up()?;
        let damaged = self.damaged.lock().expect("no panic").get(stream).copied();
        match damaged {
            Some(true) => panic!("on request"),
            Some(false) => return Err(Error::Corrupt("on request".into())),
            None => {}
        }
        let log = self.log();
        let events = log.streams.get(stream).map(Vec::as_slice).unwrap_or_default();
        let page: Vec<_> = events.iter().skip(after as usize).take(limit).cloned().collect();
        self.stream_reads.fetch_add(1, Ordering::Relaxed);
        self.events_read.fetch_add(page.len() as u64, Ordering::Relaxed);
        Ok(page)
    }
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn append_in_lanes(
        &self,
        batch: Vec<Append>,
        _: Vec<LaneProgress>,
    ) -> Result<Vec<Appended>, Error> {
        self.begun.lock().expect("no panic").push(batch.len());
        // Like a real one, it doesn't answer before others have had a turn.
        tokio::task::yield_now().await;
        self.is_held.subscribe().wait_for(|is_held| !is_held).await.expect("the sender is here");
        self.check_up()?;
        let mishap = self.mishaps.lock().expect("no panic").pop_front();
        match mishap {
            Some(Mishap::Fail) => return Err(unavailable()),
            Some(Mishap::Corrupt) => return Err(Error::Corrupt("on request".into())),
            Some(Mishap::Panic) => panic!("on request"),
            Some(Mishap::Conflict) => return Ok(vec![Appended::Conflict; batch.len()]),
            Some(Mishap::LoseTheAnswer) | None => {}
        }
        let mut log = self.log();
        let appended = batch.into_iter().map(|append| log.append(append)).collect();
        if self.goes_down_after_append.swap(false, Ordering::Relaxed) {
            self.set_down(true);
        }
        if mishap.is_some() { Err(unavailable()) } else { Ok(appended) }
    }

    async fn check_writable(&self) -> Result<(), Error> {
        self.check_up()
    }

    async fn find_by_key(&self, key: &CommandKey) -> Result<Option<Arc<Recorded>>, Error> {
        tokio::task::yield_now().await;
        self.check_up()?;
        Ok(self.log().keys.get(key).cloned())
    }

    async fn load(&self, streams: &[StreamId], limit: usize) -> Result<Vec<Latest>, Error> {
        let mut latest = Vec::new();
        for stream in streams {
            let snapshot = self.snapshot(stream);
            let after = snapshot.as_ref().map_or(0, |snapshot| snapshot.sequence);
            latest.push(Latest { events: self.read_stream(stream, after, limit).await?, snapshot });
        }
        Ok(latest)
    }

    async fn save_snapshots(&self, snapshots: Vec<Snapshot>) -> Result<(), Error> {
        self.check_up()?;
        let mut log = self.log();
        for snapshot in snapshots {
            let head = log.streams.get(&snapshot.stream).map_or(0, Vec::len) as u64;
            assert!(snapshot.sequence <= head, "a snapshot of what isn't committed");
            log.snapshots.insert(snapshot.stream.clone(), snapshot);
        }
        Ok(())
    }
}
