//! Conversations as the store has them, those used lately in memory.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::anyhow;
use cqrs_es::Aggregate;
use futures::{StreamExt, TryStreamExt, stream};
use hashlink::LruCache;
use verbatim_domain::{Conversation, ConversationEvent, ConversationId, Event, StreamId};
use verbatim_journal::{Journal, Latest, Snapshot};

/// Conversations and members that are kept.
const CAPACITY: usize = 200_000;
/// Conversations loaded at once.
const LOADS: usize = 16;
/// Events read at once.
const PAGE: usize = 500;

#[derive(Clone, Default)]
pub struct Known {
    pub state: Conversation,
    /// The stream's last event in it.
    pub sequence: u64,
    /// The last one that a load finds without reading it.
    snapshot: u64,
    /// Whether the store had it when it was loaded.
    pub is_old: bool,
}

pub struct Conversations {
    journal: Arc<dyn Journal>,
    known: LruCache<ConversationId, Known>,
    weight: usize,
    /// Those to which something was applied that isn't settled yet.
    trials: HashMap<ConversationId, Trial>,
}

/// What was known of a conversation before something was applied, and what became of that.
struct Trial {
    before: Known,
    is_committed: bool,
    is_void: bool,
}

impl Conversations {
    pub fn new(journal: Arc<dyn Journal>) -> Self {
        Self { journal, known: LruCache::new_unbounded(), weight: 0, trials: HashMap::new() }
    }

    /// Loads those that aren't in memory.
    pub async fn prepare(
        &mut self,
        ids: impl IntoIterator<Item = &ConversationId>,
    ) -> anyhow::Result<()> {
        let missing: HashMap<_, _> = ids
            .into_iter()
            .filter(|id| !self.known.contains_key(*id))
            .map(|id| (id.clone(), &*self.journal))
            .collect();
        let loads = missing
            .into_iter()
            .map(|(id, journal)| async move { load(journal, &id).await.map(|known| (id, known)) });
        let loaded: Vec<_> = stream::iter(loads).buffer_unordered(LOADS).try_collect().await?;
        for (id, known) in loaded {
            self.weight += weigh(&known);
            self.known.insert(id, known);
        }
        Ok(())
    }

    /// One that was prepared; as the most recently used.
    pub fn get(&mut self, id: &ConversationId) -> &Known {
        self.known.entry(id.clone()).or_insert_with(Known::default)
    }

    /// Takes in events that are about to be appended to one that was prepared.
    pub fn apply(&mut self, id: &ConversationId, events: &[ConversationEvent]) {
        let Some(known) = self.known.get_mut(id) else { return };
        self.trials.entry(id.clone()).or_insert_with(|| Trial {
            before: known.clone(),
            is_committed: false,
            is_void: false,
        });
        for event in events {
            self.weight += usize::from(matches!(event, ConversationEvent::MemberJoined(_)));
            known.state.apply(event.clone());
            known.sequence += 1;
        }
    }

    /// Something that was applied is committed.
    pub fn commit(&mut self, id: &ConversationId) {
        if let Some(trial) = self.trials.get_mut(id) {
            trial.is_committed = true;
        }
    }

    /// Something that was applied has come to nothing.
    pub fn undo(&mut self, id: &ConversationId) {
        if let Some(trial) = self.trials.get_mut(id) {
            trial.is_void = true;
        }
    }

    /// Goes back to what was known before where all that was applied has come to nothing. Where some of
    /// it has, the store knows.
    pub fn settle(&mut self) {
        for (id, trial) in std::mem::take(&mut self.trials) {
            if !trial.is_void {
                continue;
            }
            if let Some(wrong) = self.known.remove(&id) {
                self.weight = self.weight.saturating_sub(weigh(&wrong));
            }
            if !trial.is_committed {
                self.weight += weigh(&trial.before);
                self.known.insert(id, trial.before);
            }
        }
    }

    /// Forgets what wasn't used for longest, and takes snapshots of it, so that it need not be read
    /// from its beginning. Only when all that is known is committed.
    pub async fn trim(&mut self) -> anyhow::Result<()> {
        let mut snapshots = Vec::new();
        while self.weight > CAPACITY
            && let Some((id, known)) = self.known.remove_lru()
        {
            self.weight = self.weight.saturating_sub(weigh(&known));
            if known.sequence > known.snapshot + PAGE as u64 {
                snapshots.push(Snapshot {
                    stream: StreamId::conversation(&id),
                    sequence: known.sequence,
                    state: serde_json::to_string(&known.state)?,
                });
            }
        }
        Ok(self.journal.save_snapshots(snapshots).await?)
    }
}

fn weigh(known: &Known) -> usize {
    1 + known.state.member_count()
}

async fn load(journal: &dyn Journal, id: &ConversationId) -> anyhow::Result<Known> {
    let stream = StreamId::conversation(id);
    let mut known = Known::default();
    let loaded = journal.load(std::slice::from_ref(&stream), PAGE).await?;
    let Latest { snapshot, mut events } = loaded.into_iter().next().unwrap_or_default();
    match snapshot.map(|snapshot| (serde_json::from_str(&snapshot.state), snapshot.sequence)) {
        Some((Ok(state), sequence)) => {
            (known.state, known.sequence, known.snapshot) = (state, sequence, sequence);
        }
        // One of another version.
        Some((Err(_), _)) => events = journal.read_stream(&stream, 0, PAGE).await?,
        None => {}
    }
    loop {
        let is_last = events.len() < PAGE;
        for recorded in events {
            let Event::Conversation(event) = &recorded.event else {
                return Err(anyhow!("{} stands in {stream}", recorded.event.event_type()));
            };
            known.state.apply(event.clone());
            known.sequence = recorded.sequence;
        }
        if is_last {
            known.is_old = known.sequence > 0;
            return Ok(known);
        }
        events = journal.read_stream(&stream, known.sequence, PAGE).await?;
    }
}
