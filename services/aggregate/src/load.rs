//! Loading aggregates that aren't in memory.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::future::join_all;
use futures::{FutureExt, TryStreamExt};
use verbatim_domain::StreamId;
use verbatim_journal::{Error, Journal, Latest};
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

/// An aggregate to be loaded, and the keys that commands waiting for it may have used before.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) stream: StreamId,
    pub(crate) suspects: Vec<CommandKey>,
}

/// Loads aggregates.
pub(crate) async fn load(
    journal: Arc<dyn Journal>,
    wanted: Vec<Wanted>,
    page: usize,
) -> Vec<Loaded> {
    match together(&*journal, &wanted, page).await {
        Ok(all) => named(wanted, all.into_iter().map(Ok)),
        // What is wrong may be with one of them.
        Err(error) if wanted.len() == 1 => named(wanted, [Err(error)]),
        Err(_) => {
            let each = wanted.iter().map(async |wanted| {
                let alone = together(&*journal, std::slice::from_ref(wanted), page).await?;
                Ok(alone.into_iter().next().expect("one was asked for"))
            });
            let results = join_all(each).await;
            named(wanted, results)
        }
    }
}

fn named(
    wanted: Vec<Wanted>,
    results: impl IntoIterator<Item = Result<Hot, Error>>,
) -> Vec<Loaded> {
    let named = wanted.into_iter().zip(results);
    named.map(|(Wanted { stream, .. }, result)| Loaded { stream, result }).collect()
}

/// Loads all, or none.
async fn together(
    journal: &dyn Journal,
    wanted: &[Wanted],
    page: usize,
) -> Result<Vec<Hot>, Error> {
    let loading = AssertUnwindSafe(try_together(journal, wanted, page)).catch_unwind();
    loading.await.unwrap_or_else(|_| Err(Error::Corrupt("loading it panicked".into())))
}

async fn try_together(
    journal: &dyn Journal,
    wanted: &[Wanted],
    page: usize,
) -> Result<Vec<Hot>, Error> {
    let keys = wanted.iter().flat_map(|wanted| wanted.suspects.iter().cloned()).collect();
    // Before the states are read: what is not used by then can only follow on them.
    let mut looked_up = answer::look_up(journal, keys).try_collect::<Vec<_>>().await?.into_iter();
    let streams: Vec<_> = wanted.iter().map(|wanted| wanted.stream.clone()).collect();
    let latest = journal.load(&streams, page).await?;
    let mut hot = Vec::with_capacity(wanted.len());
    for (Wanted { stream, suspects }, latest) in wanted.iter().zip(latest) {
        let looked_up = suspects.iter().cloned().zip(looked_up.by_ref()).collect();
        let (state, sequence, snapshot) = replay(journal, stream, latest, page).await?;
        hot.push(Hot { state, sequence, snapshot, looked_up });
    }
    Ok(hot)
}

/// The state of an aggregate, its sequence, and that of the snapshot that it was made from.
async fn replay(
    journal: &dyn Journal,
    stream: &StreamId,
    latest: Latest,
    page: usize,
) -> Result<(State, u64, u64), Error> {
    let Latest { snapshot, mut events } = latest;
    let (mut state, snapshot) = match snapshot {
        None => (State::new(stream.aggregate_type), 0),
        Some(snapshot) => match State::from_json(stream.aggregate_type, &snapshot.state) {
            Ok(state) => (state, snapshot.sequence),
            Err(error) => {
                tracing::warn!(%stream, %error, "a snapshot can't be read; replaying all events");
                events = journal.read_stream(stream, 0, page).await?;
                (State::new(stream.aggregate_type), 0)
            }
        },
    };
    let mut sequence = snapshot;
    loop {
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
            return Ok((state, sequence, snapshot));
        }
        events = journal.read_stream(stream, sequence, page).await?;
    }
}
