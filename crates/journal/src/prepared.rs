//! Appends on their way into the database.

use std::sync::Arc;

use verbatim_domain::{Event, StreamId};
use verbatim_protocol::{CommandKey, Recorded, Timestamp};

use crate::Append;

/// An [`Append`] whose events have been written down, which the caller's task does.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) stream: StreamId,
    pub(crate) expected: u64,
    pub(crate) events: Vec<Event>,
    /// One an event, in the same order.
    pub(crate) payloads: Vec<String>,
    pub(crate) key: CommandKey,
    pub(crate) metadata: Arc<str>,
}

impl Prepared {
    pub(crate) fn new(append: Append) -> Result<Self, serde_json::Error> {
        let Append { stream, expected, events, key, metadata } = append;
        let payloads = events.iter().map(Event::payload).collect::<Result<_, _>>()?;
        Ok(Self { stream, expected, events, payloads, key, metadata })
    }

    /// The events as they are recorded, from position `first` on.
    pub(crate) fn recorded(self, first: u64, recorded_at: Timestamp) -> Vec<Arc<Recorded>> {
        let Self { stream, expected, events, key, metadata, .. } = self;
        let last = events.len();
        let recorded = |(n, event)| {
            Arc::new(Recorded {
                position: first + n as u64,
                stream: stream.clone(),
                sequence: expected + 1 + n as u64,
                recorded_at,
                command: (n + 1 == last).then(|| key.clone()),
                metadata: Arc::clone(&metadata),
                event,
                original: None,
            })
        };
        events.into_iter().enumerate().map(recorded).collect()
    }
}
