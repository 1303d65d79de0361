//! Loading aggregates that aren't in memory.

use std::collections::{HashMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::{FutureExt, TryFutureExt, TryStreamExt};
use verbatim_domain::StreamId;
use verbatim_journal::{Error, Journal, Latest, Snapshot};
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

/// What came of loading several.
pub(crate) struct Loads {
    pub(crate) loaded: Vec<Loaded>,
    /// Those to be loaded each by itself: they take longer than the others should wait, or one of them
    /// can't be read.
    pub(crate) alone: VecDeque<Wanted>,
}

/// Loads aggregates by one read; a single one by as many as it takes.
pub(crate) async fn load(journal: Arc<dyn Journal>, wanted: Vec<Wanted>, page: usize) -> Loads {
    let loading: BoxFuture<'_, _> = match &wanted[..] {
        [one] => alone(&*journal, one, page).map_ok(|hot| vec![Some(hot)]).boxed(),
        several => together(&*journal, several, page).boxed(),
    };
    let result = AssertUnwindSafe(loading).catch_unwind().await;
    let result = result.unwrap_or_else(|_| Err(Error::Corrupt("loading panicked".into())));
    let mut loads = Loads { loaded: Vec::new(), alone: VecDeque::new() };
    match result {
        Ok(found) => {
            for (wanted, hot) in wanted.into_iter().zip(found) {
                match hot {
                    Some(hot) => loads.loaded.push(wanted.loaded(Ok(hot))),
                    None => loads.alone.push_back(wanted),
                }
            }
        }
        Err(Error::Corrupt(_)) if wanted.len() > 1 => loads.alone = wanted.into(),
        Err(error) => {
            let again = || match &error {
                Error::Unavailable(source) => Error::Unavailable(source.to_string().into()),
                Error::Corrupt(what) => Error::Corrupt(what.clone()),
            };
            loads.loaded = wanted.into_iter().map(|wanted| wanted.loaded(Err(again()))).collect();
        }
    }
    loads
}

impl Wanted {
    fn loaded(self, result: Result<Hot, Error>) -> Loaded {
        Loaded { stream: self.stream, result }
    }
}

/// Those that are loaded by one read.
async fn together(
    journal: &dyn Journal,
    wanted: &[Wanted],
    page: usize,
) -> Result<Vec<Option<Hot>>, Error> {
    let mut found = Vec::with_capacity(wanted.len());
    for (Wanted { stream, .. }, read) in wanted.iter().zip(read(journal, wanted, page).await?) {
        let Read { looked_up, latest: Latest { snapshot, events } } = read;
        let hot = match Hot::begin(stream, snapshot) {
            Ok(mut hot) if events.len() < page => {
                hot.follow(stream, events)?;
                Some(Hot { looked_up, ..hot })
            }
            _ => None,
        };
        found.push(hot);
    }
    Ok(found)
}

/// One, whatever it takes.
async fn alone(journal: &dyn Journal, wanted: &Wanted, page: usize) -> Result<Hot, Error> {
    let stream = &wanted.stream;
    let mut read = read(journal, std::slice::from_ref(wanted), page).await?;
    let Read { looked_up, latest: Latest { snapshot, mut events } } = read.remove(0);
    let mut hot = match Hot::begin(stream, snapshot) {
        Ok(hot) => hot,
        Err(error) => {
            tracing::warn!(%stream, %error, "a snapshot can't be read; replaying all events");
            events = journal.read_stream(stream, 0, page).await?;
            Hot::new(stream)
        }
    };
    loop {
        let is_last = events.len() < page;
        hot.follow(stream, events)?;
        if is_last {
            return Ok(Hot { looked_up, ..hot });
        }
        events = journal.read_stream(stream, hot.sequence, page).await?;
    }
}

/// What is read of an aggregate at first.
struct Read {
    looked_up: HashMap<CommandKey, Option<Arc<Recorded>>>,
    latest: Latest,
}

async fn read(journal: &dyn Journal, wanted: &[Wanted], page: usize) -> Result<Vec<Read>, Error> {
    let keys = wanted.iter().flat_map(|wanted| wanted.suspects.iter().cloned()).collect();
    // Before the states are read: what is not used by then can only follow on them.
    let mut looked_up = answer::look_up(journal, keys).try_collect::<Vec<_>>().await?.into_iter();
    let streams: Vec<_> = wanted.iter().map(|wanted| wanted.stream.clone()).collect();
    let latest = journal.load(&streams, page).await?;
    if latest.len() != streams.len() {
        let found = latest.len();
        return Err(Error::Corrupt(format!("of {} streams {found} were given", streams.len())));
    }
    let read = wanted.iter().zip(latest).map(|(Wanted { suspects, .. }, latest)| {
        let looked_up = suspects.iter().cloned().zip(looked_up.by_ref()).collect();
        Read { looked_up, latest }
    });
    Ok(read.collect())
}

impl Hot {
    fn new(stream: &StreamId) -> Self {
        let state = State::new(stream.aggregate_type);
        Self { state, sequence: 0, snapshot: 0, looked_up: HashMap::new() }
    }

    /// As of the snapshot, if there is one.
    fn begin(stream: &StreamId, snapshot: Option<Snapshot>) -> Result<Self, serde_json::Error> {
        let hot = Self::new(stream);
        let Some(Snapshot { sequence, state, .. }) = snapshot else { return Ok(hot) };
        let state = State::from_json(stream.aggregate_type, &state)?;
        Ok(Self { state, sequence, snapshot: sequence, ..hot })
    }

    fn follow(&mut self, stream: &StreamId, events: Vec<Arc<Recorded>>) -> Result<(), Error> {
        for recorded in events {
            let (found, last) = (recorded.sequence, self.sequence);
            if found != last + 1 {
                return Err(Error::Corrupt(format!("{stream} goes from {last} to {found}")));
            }
            self.sequence = found;
            self.state.apply(&recorded.event).map_err(|_| {
                let event = recorded.event.event_type();
                Error::Corrupt(format!("{event} stands in {stream}"))
            })?;
        }
        Ok(())
    }
}
