//! Loading an aggregate that isn't in memory.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::{FutureExt, StreamExt};
use verbatim_domain::StreamId;
use verbatim_journal::{Error, Journal};
use verbatim_protocol::{CommandKey, Recorded};

use crate::answer;
use crate::state::State;

/// What a load brought.
pub(crate) struct Loaded {
    pub(crate) stream: StreamId,
    pub(crate) result: Result<Hot, Error>,
}

/// An aggregate as the journal has it.
#[derive(Debug)]
pub(crate) struct Hot {
    pub(crate) state: State,
    pub(crate) sequence: u64,
    /// The sequence of the snapshot that it was loaded from, 0 without one.
    pub(crate) snapshot: u64,
    /// The suspected keys, looked for before the state was read: what each was used for.
    pub(crate) looked_up: HashMap<CommandKey, Option<Arc<Recorded>>>,
}

/// Loads an aggregate, and looks for keys that waiting commands may have used before.
pub(crate) async fn load(
    journal: Arc<dyn Journal>,
    stream: StreamId,
    suspects: Vec<CommandKey>,
    page: usize,
) -> Loaded {
    let loading = AssertUnwindSafe(try_load(&*journal, &stream, suspects, page)).catch_unwind();
    let result = loading
        .await
        .unwrap_or_else(|_| Err(Error::Corrupt(format!("replaying {stream} panicked"))));
    Loaded { stream, result }
}

async fn try_load(
    journal: &dyn Journal,
    stream: &StreamId,
    suspects: Vec<CommandKey>,
    page: usize,
) -> Result<Hot, Error> {
    let mut looked_up = HashMap::with_capacity(suspects.len());
    let mut look_ups = answer::look_up(journal, suspects.clone());
    for key in suspects {
        looked_up.insert(key, look_ups.next().await.transpose()?.flatten());
    }
    let (mut state, snapshot) = from_snapshot(journal, stream).await?;
    let mut sequence = snapshot;
    loop {
        let events = journal.read_stream(stream, sequence, page).await?;
        let is_last = events.len() < page;
        for recorded in events {
            if recorded.sequence != sequence + 1 {
                let found = recorded.sequence;
                return Err(Error::Corrupt(format!("{stream} goes from {sequence} to {found}")));
            }
            sequence = recorded.sequence;
            state.apply(&recorded.event).map_err(|_| {
                let event = recorded.event.event_type();
                Error::Corrupt(format!("{event} stands in {stream}"))
            })?;
        }
        if is_last {
            return Ok(Hot { state, sequence, snapshot, looked_up });
        }
    }
}

async fn from_snapshot(journal: &dyn Journal, stream: &StreamId) -> Result<(State, u64), Error> {
    let fresh = (State::new(stream.aggregate_type), 0);
    let Some(snapshot) = journal.load_snapshot(stream).await? else { return Ok(fresh) };
    match State::from_json(stream.aggregate_type, &snapshot.state) {
        Ok(state) => Ok((state, snapshot.sequence)),
        Err(error) => {
            tracing::warn!(%stream, %error, "a snapshot can't be read; replaying all events");
            Ok(fresh)
        }
    }
}
