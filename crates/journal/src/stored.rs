//! Events on their way out of the database.

use std::sync::Arc;

use verbatim_domain::{AggregateType, Event, StreamId};
use verbatim_protocol::{CommandKey, Original, Recorded, Timestamp};

use crate::{Error, StoredEvent};

/// No position and no sequence is above it: the databases' integers end here.
pub(crate) const LAST: u64 = i64::MAX as u64;

/// A row of the events table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stored<'r> {
    pub(crate) position: i64,
    pub(crate) aggregate_type: &'r str,
    pub(crate) aggregate_id: &'r str,
    pub(crate) sequence: i64,
    pub(crate) event_type: &'r str,
    pub(crate) event_version: &'r str,
    pub(crate) payload: &'r str,
    pub(crate) metadata: &'r str,
    pub(crate) recorded_at: i64,
    pub(crate) issuer: Option<&'r str>,
    pub(crate) key: Option<&'r str>,
}

impl Stored<'_> {
    /// The row as it is.
    pub(crate) fn to_owned(self) -> StoredEvent {
        StoredEvent {
            aggregate_type: self.aggregate_type.to_owned(),
            aggregate_id: self.aggregate_id.to_owned(),
            sequence: self.sequence,
            event_type: self.event_type.to_owned(),
            event_version: self.event_version.to_owned(),
            payload: self.payload.to_owned(),
            metadata: self.metadata.to_owned(),
            recorded_at: self.recorded_at,
            issuer: self.issuer.map(str::to_owned),
            key: self.key.map(str::to_owned),
        }
    }

    /// The event; or what is wrong with it, and where it stands.
    pub(crate) fn read(self) -> Result<Arc<Recorded>, String> {
        let unreadable = |error: &dyn std::error::Error| unreadable(self.position, error);
        let aggregate_type: AggregateType =
            self.aggregate_type.parse().map_err(|error| unreadable(&error))?;
        let event =
            Event::decode(aggregate_type, self.event_type, self.event_version, self.payload)
                .map_err(|error| unreadable(&error))?;
        Ok(Arc::new(Recorded {
            position: self.position as u64,
            stream: StreamId { aggregate_type, aggregate_id: self.aggregate_id.into() },
            sequence: self.sequence as u64,
            recorded_at: Timestamp(self.recorded_at),
            command: self
                .issuer
                .zip(self.key)
                .map(|(issuer, key)| CommandKey { issuer: issuer.into(), key: key.into() }),
            metadata: self.metadata.into(),
            original: Original::of(&event, self.event_version, self.payload),
            event,
        }))
    }
}

/// Says why the event at a position can't be read.
pub(crate) fn unreadable(position: i64, error: &dyn std::error::Error) -> String {
    let cause = error.source().map(|source| format!(": {source}")).unwrap_or_default();
    format!("at position {position}: {error}{cause}")
}

/// Events, if their `number`s follow on `after` without a hole.
pub(crate) fn page(
    events: Vec<Arc<Recorded>>,
    after: u64,
    number: fn(&Recorded) -> u64,
) -> Result<Vec<Arc<Recorded>>, Error> {
    for (event, expected) in events.iter().zip(after + 1..) {
        if number(event) != expected {
            return Err(Error::Corrupt(format!(
                "after {}: {} instead of {expected}, at position {} of {}",
                expected - 1,
                number(event),
                event.position,
                event.stream
            )));
        }
    }
    Ok(events)
}
