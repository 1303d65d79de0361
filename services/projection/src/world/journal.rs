use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use cqrs_es::Aggregate;
use tokio::sync::watch;
use uuid::Uuid;
use verbatim_domain::{Event, Inbox, StreamId, UserId};
use verbatim_journal::{Append, Appended, Error, Journal, LaneProgress, Latest, Log, Snapshot};
use verbatim_protocol::{CommandKey, JournalId, Recorded, Timestamp};

use super::Faults;

/// A journal in memory.
pub(crate) struct MemoryJournal {
    events: Mutex<Vec<Arc<Recorded>>>,
    /// From this position on nothing can be read.
    corrupt_from: Mutex<Option<u64>>,
    refused: Mutex<HashSet<String>>,
    pub faults: Faults,
    /// Of the commands that lead to it.
    pub commands: Faults,
    changes: watch::Sender<()>,
}

impl MemoryJournal {
    pub fn new(changes: watch::Sender<()>) -> Self {
        Self {
            events: Mutex::default(),
            corrupt_from: Mutex::default(),
            refused: Mutex::default(),
            faults: Faults::default(),
            commands: Faults::default(),
            changes,
        }
    }

    pub fn record(
        &self,
        events: Vec<(StreamId, Event)>,
        command: Option<&CommandKey>,
    ) -> Arc<[Arc<Recorded>]> {
        let mut stored = self.locked();
        let begin = stored.len();
        for (stream, event) in events {
            let position = stored.len() as u64 + 1;
            let sequence = stored.iter().filter(|event| event.stream == stream).count() as u64 + 1;
            stored.push(Arc::new(Recorded {
                position,
                stream,
                sequence,
                recorded_at: Timestamp::now(),
                command: command.cloned(),
                metadata: "{}".into(),
                event,
                original: None,
            }));
        }
        let recorded = stored[begin..].into();
        drop(stored);
        self.changes.send_replace(());
        recorded
    }

    pub fn events(&self) -> Vec<Arc<Recorded>> {
        self.locked().clone()
    }

    pub fn last(&self) -> u64 {
        self.locked().last().map_or(0, |event| event.position)
    }

    pub fn corrupt_from(&self, position: u64) {
        *self.corrupt_from.lock().expect("no panic holds it") = Some(position);
    }

    /// Loses what is above a position, as no journal may.
    pub fn lose_after(&self, position: u64) {
        self.locked().truncate(position as usize);
    }

    /// Loses one event out of the middle, as no journal may.
    pub fn lose_position(&self, position: u64) {
        self.locked().retain(|event| event.position != position);
    }

    /// Has the command with a key refused for good.
    pub fn refuse(&self, key: &str) {
        self.refused().insert(key.to_owned());
    }

    pub fn refused(&self) -> MutexGuard<'_, HashSet<String>> {
        self.refused.lock().expect("no panic holds it")
    }

    pub fn find(&self, key: &CommandKey) -> Option<Arc<Recorded>> {
        self.locked().iter().find(|event| event.command.as_ref() == Some(key)).cloned()
    }

    pub fn inbox(&self, user: &UserId) -> Inbox {
        let mut inbox = Inbox::default();
        let stream = StreamId::inbox(user);
        for recorded in self.locked().iter().filter(|event| event.stream == stream) {
            if let Event::Inbox(event) = &recorded.event {
                inbox.apply(event.clone());
            }
        }
        inbox
    }

    fn asked(&self) -> Result<(), Error> {
        let answer = self.faults.check().map_err(Error::Unavailable);
        self.changes.send_replace(());
        answer
    }

    fn locked(&self) -> MutexGuard<'_, Vec<Arc<Recorded>>> {
        self.events.lock().expect("no panic holds it")
    }
}

fn not_needed<T>() -> Result<T, Error> {
    Err(Error::Unavailable("no reader needs this".into()))
}

#[async_trait]
impl Log for MemoryJournal {
    fn id(&self) -> JournalId {
        JournalId(Uuid::from_u128(42))
    }

    async fn head(&self) -> Result<u64, Error> {
        self.asked()?;
        Ok(self.last())
    }

    async fn read_after(&self, after: u64, limit: usize) -> Result<Vec<Arc<Recorded>>, Error> {
        self.asked()?;
        let corrupt = *self.corrupt_from.lock().expect("no panic holds it");
        let events = self.locked();
        let batch: Vec<_> = events.iter().skip(after as usize).take(limit).cloned().collect();
        match corrupt {
            Some(corrupt) if batch.iter().any(|event| event.position >= corrupt) => {
                Err(Error::Corrupt(format!("position {corrupt}: unknown event")))
            }
            _ => Ok(batch),
        }
    }

    async fn read_stream(
        &self,
        _: &StreamId,
        _: u64,
        _: usize,
    ) -> Result<Vec<Arc<Recorded>>, Error> {
        not_needed()
    }
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn append_in_lanes(
        &self,
        _: Vec<Append>,
        _: Vec<LaneProgress>,
    ) -> Result<Vec<Appended>, Error> {
        not_needed()
    }

    async fn check_writable(&self) -> Result<(), Error> {
        not_needed()
    }

    async fn find_by_key(&self, _: &CommandKey) -> Result<Option<Arc<Recorded>>, Error> {
        not_needed()
    }

    async fn load(&self, _: &[StreamId], _: usize) -> Result<Vec<Latest>, Error> {
        not_needed()
    }

    async fn save_snapshots(&self, _: Vec<Snapshot>) -> Result<(), Error> {
        not_needed()
    }
}
