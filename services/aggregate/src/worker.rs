//! The loop: commands in, decisions into batches, one append at a time.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use hashlink::LruCache;
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use verbatim_bus::{Bus, Request, Taken};
use verbatim_domain::StreamId;
use verbatim_journal::{Append, Appended, DeadLetter, Error, Journal, LaneProgress, Snapshot};
use verbatim_protocol::{CommandKey, Timestamp};

use crate::Settings;
use crate::answer;
use crate::batch::{Batch, Decision};
use crate::cache::Cache;
use crate::lanes::LaneBook;
use crate::load::{Loaded, Loads, Wanted, load};
use crate::metrics::Metrics;
use crate::owner::Owner;
use crate::ownership::owned;
use crate::pending::{KeyIs, Pending};
use crate::state::Decide;

/// Tasks beside the loop (late answers, snapshots) past which it takes no more commands.
const MAX_ASIDE: usize = 64;

pub(crate) struct Worker {
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) settings: Settings,
    pub(crate) metrics: Arc<Metrics>,
    decide: Decide,
    pub(crate) cache: Cache,
    /// Taken and not decided, in order. Not empty only while the forming batch is full.
    pub(crate) waiting: VecDeque<Pending>,
    /// Commands that wait for their aggregates, over all slots.
    pub(crate) parked: usize,
    pub(crate) forming: Batch,
    pub(crate) in_flight: Option<InFlight>,
    to_load: VecDeque<StreamId>,
    /// Found to need a load of their own.
    load_alone: VecDeque<Wanted>,
    /// Whether the next load is one of those, if there is one.
    alone_next: bool,
    loads: JoinSet<Loads>,
    pub(crate) aside: JoinSet<Aside>,
    /// Waiting for the snapshots under way to be saved.
    pub(crate) snapshots: Vec<Snapshot>,
    pub(crate) is_saving: bool,
    /// Keys that users gave and that are in the journal, the last ones.
    pub(crate) recent: LruCache<CommandKey, ()>,
    /// Keeps this worker's lanes, where several share the journal.
    pub(crate) owner: Option<Owner>,
    pub(crate) book: LaneBook,
    pub(crate) appends_begun: u64,
    pub(crate) appends_ended: u64,
    /// Lanes that turned out to be another's.
    pub(crate) lost: Vec<u16>,
    /// Commands of lost lanes, which their next owner answers: let go of only once nothing more is
    /// taken from those.
    pub(crate) left: Vec<Pending>,
}

/// A batch that the journal has.
pub(crate) struct InFlight {
    pub(crate) batch: Batch,
    pub(crate) progress: Vec<LaneProgress>,
    pub(crate) since: Instant,
    append: JoinHandle<Result<Vec<Appended>, Error>>,
}

/// What a task beside the loop has done.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Aside {
    Answered,
    Saved,
}

impl Worker {
    pub(crate) fn new(
        journal: Arc<dyn Journal>,
        bus: Arc<dyn Bus>,
        owner: Option<Owner>,
        settings: Settings,
        metrics: Arc<Metrics>,
        decide: Decide,
    ) -> Self {
        Self {
            journal,
            bus,
            settings,
            metrics,
            decide,
            cache: Cache::new(settings.hot_members),
            waiting: VecDeque::new(),
            parked: 0,
            forming: Batch::default(),
            in_flight: None,
            to_load: VecDeque::new(),
            load_alone: VecDeque::new(),
            alone_next: false,
            loads: JoinSet::new(),
            aside: JoinSet::new(),
            snapshots: Vec::new(),
            is_saving: false,
            recent: LruCache::new(settings.recent_keys),
            owner,
            book: LaneBook::default(),
            appends_begun: 0,
            appends_ended: 0,
            lost: Vec::new(),
            left: Vec::new(),
        }
    }

    pub(crate) async fn run(mut self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let mut source = self.bus.commands();
        let mut is_ending = false;
        // At the end: how many of the queued commands are still to be taken.
        let mut last = None;
        loop {
            self.decide_waiting();
            self.submit()?;
            if self.let_go(&mut *source) || self.can_decide() {
                continue;
            }
            self.start_loads();
            self.cache.trim();
            let queued = self.bus.queued_commands();
            self.metrics.queued.set(queued as i64);
            self.metrics.hot_aggregates.set(self.cache.len() as i64);
            if queued == 0 && last.is_some() {
                last = Some(0);
            }
            if last == Some(0) && self.is_idle() {
                if let Some(owner) = &mut self.owner {
                    owner.end().await;
                }
                return Ok(());
            }
            let room = self.room().min(last.unwrap_or(usize::MAX));
            tokio::select! {
                biased;
                () = shutdown.cancelled(), if !is_ending => {
                    is_ending = true;
                    match &self.owner {
                        Some(owner) => owner.stop(),
                        None => last = Some(self.bus.queued_commands()),
                    }
                }
                ownership = owned(&mut self.owner), if last.is_none() => {
                    if let Some(ownership) = ownership? {
                        self.own(ownership, &mut *source);
                    } else {
                        self.leave(usize::MAX, &mut *source);
                        last = Some(self.bus.queued_commands());
                    }
                }
                answer = appended(&mut self.in_flight), if self.in_flight.is_some() => {
                    self.after_append(answer?).await?;
                }
                Some(loads) = self.loads.join_next() => self.after_loads(loads?),
                Some(aside) = self.aside.join_next() => self.after_aside(aside?),
                taken = source.next(room), if room > 0 => {
                    if let Some(requests) = taken {
                        last = last.map(|left| left.saturating_sub(requests.len()));
                        self.take(requests);
                    } else {
                        // The bus was closed, or somebody else handles its commands now.
                        self.leave(usize::MAX, &mut *source);
                        last = Some(0);
                    }
                }
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty()
            && self.parked == 0
            && self.forming.is_empty()
            && self.in_flight.is_none()
            && self.loads.is_empty()
            && self.aside.is_empty()
    }

    /// How many commands may be taken now.
    fn room(&self) -> usize {
        let is_full = !self.waiting.is_empty()
            || self.is_full()
            || self.parked >= self.settings.max_parked
            || self.aside.len() >= MAX_ASIDE;
        if is_full { 0 } else { self.settings.max_batch - self.forming.decided.len() }
    }

    fn is_full(&self) -> bool {
        self.forming.decided.len() >= self.settings.max_batch
            || self.forming.events >= self.settings.max_batch_events
    }

    fn take(&mut self, taken: Vec<Taken>) {
        let now = Instant::now();
        for taken in taken {
            match taken {
                Taken::Request(request) => self.take_request(request, now),
                Taken::Undecodable { place, command, reason } => {
                    tracing::error!(lane = place.lane, reason, "a command can't be read");
                    if let Some(ticket) = self.book.take(place) {
                        self.set_aside(ticket, DeadLetter { command, reason });
                    }
                }
            }
        }
    }

    fn take_request(&mut self, request: Request, now: Instant) {
        let ticket = match request.place {
            None => None,
            Some(place) => match self.book.take(place) {
                None => return self.left.push(Pending::new(request, None, now)),
                ticket => ticket,
            },
        };
        self.waiting.push_back(Pending::new(request, ticket, now));
    }

    fn can_decide(&self) -> bool {
        !self.waiting.is_empty() && !self.is_full()
    }

    fn decide_waiting(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let now = Timestamp::now();
        while !self.is_full() {
            match self.waiting.pop_front() {
                Some(pending) if !self.is_mine(&pending) => self.left.push(pending),
                Some(pending) if pending.is_expired(now) => {
                    self.done_with(&pending);
                    pending.expire(&self.metrics);
                }
                Some(pending) => self.decide_or_park(pending),
                None => return,
            }
        }
    }

    fn decide_or_park(&mut self, pending: Pending) {
        let is_repeated = pending.is_users() && self.recent.contains_key(pending.key());
        let slot = self.cache.touch(&pending.stream);
        let Some(state) = &mut slot.state else {
            self.metrics.misses.inc();
            self.park(pending);
            return;
        };
        self.metrics.hits.inc();
        if is_repeated {
            self.forming.push(pending, Decision::Repeated);
            return;
        }
        let span = tracing::debug_span!(
            "command.handle",
            command_id = %pending.envelope.command_id,
            stream = %pending.stream,
            traceparent = pending.envelope.traceparent.as_deref(),
        );
        let _entered = span.enter();
        let decided = std::panic::catch_unwind(AssertUnwindSafe(|| {
            let events = (self.decide)(state, &pending.envelope.command)?;
            for event in &events {
                state.apply(event).expect("a decision's events are of its aggregate's kind");
            }
            Ok(events)
        }));
        let decision = match decided {
            Ok(Ok(events)) if events.is_empty() => Decision::Settled,
            Ok(Ok(events)) => {
                let append = slot.append(&pending, events);
                let snapshot = slot.snapshot_if_due(&pending.stream, self.settings.snapshot_every);
                self.forming.snapshots.extend(snapshot);
                Decision::Append(append)
            }
            Ok(Err(failure)) => Decision::Rejected(failure),
            Err(_) => {
                // Whatever it left of the state is not to be relied on.
                slot.state = None;
                let stream = pending.stream.clone();
                tracing::error!(command_id = %pending.envelope.command_id, %stream, "a decision panicked");
                self.give_up_on(pending, "its decision panicked");
                self.want_load(&stream);
                return;
            }
        };
        self.forming.push(pending, decision);
    }

    fn park(&mut self, pending: Pending) {
        let stream = pending.stream.clone();
        self.cache.touch(&stream).parked.push_back(pending);
        self.parked += 1;
        self.want_load(&stream);
    }

    /// Has the aggregate loaded, if commands wait for it and the journal can give it yet.
    pub(crate) fn want_load(&mut self, stream: &StreamId) {
        let Some(slot) = self.cache.peek(stream) else { return };
        if !slot.is_loadable() {
            return;
        }
        if slot.parked.is_empty() {
            self.cache.remove(stream);
        } else {
            slot.loading = true;
            self.to_load.push_back(stream.clone());
        }
    }

    fn start_loads(&mut self) {
        while self.loads.len() < self.settings.max_loads
            && let Some(wanted) = self.next_to_load()
        {
            let journal = Arc::clone(&self.journal);
            self.loads.spawn(load(journal, wanted, self.settings.load_page));
        }
    }

    /// What the next read is to load. In turn one that takes long and some of the others, so that neither
    /// wait for all of the rest.
    fn next_to_load(&mut self) -> Option<Vec<Wanted>> {
        self.alone_next = !self.alone_next;
        if (self.alone_next || self.to_load.is_empty())
            && let Some(alone) = self.load_alone.pop_front()
        {
            return Some(vec![alone]);
        }
        let count = self.to_load.len().min(self.settings.load_batch);
        let wanted = self.to_load.drain(..count).map(|stream| {
            let parked = self.cache.touch(&stream).parked.iter();
            let suspects = parked.filter(|pending| pending.key_is == KeyIs::Suspect);
            let suspects = suspects.map(|pending| pending.key().clone()).collect();
            Wanted { stream, suspects }
        });
        (count > 0).then(|| wanted.collect())
    }

    fn after_loads(&mut self, Loads { loaded, alone }: Loads) {
        self.load_alone.extend(alone);
        for loaded in loaded {
            self.after_load(loaded);
        }
    }

    fn after_load(&mut self, loaded: Loaded) {
        let Loaded { stream, result } = loaded;
        let slot = self.cache.touch(&stream);
        slot.loading = false;
        let parked = std::mem::take(&mut slot.parked);
        self.parked -= parked.len();
        match result {
            Ok(hot) => {
                let looked_up = slot.heat(hot);
                let snapshot = slot.snapshot_if_due(&stream, self.settings.snapshot_every);
                self.save_snapshots(snapshot);
                for mut pending in parked.into_iter().rev() {
                    match looked_up.get(pending.key()) {
                        Some(Some(original)) => {
                            self.done_with(&pending);
                            let reply = answer::found(&pending, original);
                            pending.answer(reply, &self.metrics);
                            continue;
                        }
                        Some(None) => pending.key_is = KeyIs::Unused,
                        None => {}
                    }
                    self.waiting.push_front(pending);
                }
            }
            Err(error) => {
                self.cache.remove(&stream);
                match &error {
                    Error::Unavailable(_) => {
                        tracing::warn!(%stream, %error, "an aggregate can't be loaded");
                        for pending in parked {
                            self.done_with(&pending);
                            pending.answer(answer::unavailable(), &self.metrics);
                        }
                    }
                    Error::Corrupt(_) => {
                        tracing::error!(%stream, %error, "an aggregate can't be loaded");
                        for pending in parked {
                            self.give_up_on(pending, "its aggregate can't be loaded");
                        }
                    }
                }
            }
        }
    }

    fn after_aside(&mut self, aside: Aside) {
        match aside {
            Aside::Saved => {
                self.is_saving = false;
                self.save_snapshots(None);
            }
            Aside::Answered => {}
        }
    }
}

impl InFlight {
    pub(crate) fn new(
        journal: Arc<dyn Journal>,
        batch: Batch,
        appends: Vec<Append>,
        progress: Vec<LaneProgress>,
    ) -> Self {
        let span =
            tracing::info_span!("journal.append", commands = appends.len(), events = batch.events);
        let lanes = progress.clone();
        let append = async move { journal.append_in_lanes(appends, lanes).await };
        // A task, so that the journal can work on it while the loop goes on.
        let append = tokio::spawn(append.instrument(span));
        Self { batch, progress, since: Instant::now(), append }
    }
}

/// Waits for the journal's answer to the batch in flight; an error when it panicked.
async fn appended(
    in_flight: &mut Option<InFlight>,
) -> Result<Result<Vec<Appended>, Error>, JoinError> {
    match in_flight {
        Some(in_flight) => (&mut in_flight.append).await,
        None => std::future::pending().await,
    }
}
