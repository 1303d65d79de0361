//! The hot aggregates, and the commands that wait for a cold one.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use hashlink::LruCache;
use verbatim_domain::{Event, StreamId};
use verbatim_journal::{Append, Snapshot};
use verbatim_protocol::{CommandKey, Recorded};

use crate::load::Hot;
use crate::pending::Pending;
use crate::state::State;

/// How many slots in use are passed over at once in search of one to evict. Those in use were used
/// lately, so there are more only if the cache is hardly larger than a batch.
const MAX_PASSED_OVER: usize = 16;

/// What is known of one aggregate.
#[derive(Default)]
pub(crate) struct Slot {
    /// With the events of all its commands that have been decided, committed or not. `None` when it
    /// must be loaded first.
    pub(crate) state: Option<State>,
    /// The sequence of the last event in `state`.
    pub(crate) sequence: u64,
    /// The sequence of the last snapshot.
    pub(crate) snapshot: u64,
    /// Appends decided and not settled. While there are any, the journal doesn't show the state.
    pub(crate) uncommitted: usize,
    pub(crate) loading: bool,
    /// Commands that wait for the state, in order.
    pub(crate) parked: VecDeque<Pending>,
    /// What it counts for in the cache.
    weight: usize,
}

impl Slot {
    /// Itself, and the members of its conversation.
    fn weigh(&self) -> usize {
        1 + self.state.as_ref().map_or(0, State::member_count)
    }

    fn is_in_use(&self) -> bool {
        self.uncommitted > 0 || self.loading || !self.parked.is_empty()
    }

    /// Takes in what was loaded; gives back what became of the suspected keys.
    pub(crate) fn heat(&mut self, hot: Hot) -> HashMap<CommandKey, Option<Arc<Recorded>>> {
        let Hot { state, sequence, snapshot, looked_up } = hot;
        self.state = Some(state);
        self.sequence = sequence;
        self.snapshot = snapshot;
        looked_up
    }

    /// What a command adds, when its events have just been applied to the state.
    pub(crate) fn append(&mut self, pending: &Pending, events: Vec<Event>) -> Append {
        let expected = self.sequence;
        self.sequence += events.len() as u64;
        self.uncommitted += 1;
        Append {
            stream: pending.stream.clone(),
            expected,
            events,
            key: pending.key().clone(),
            metadata: Arc::clone(&pending.metadata),
        }
    }

    /// The state as a snapshot, once it has grown by so many events since the last one.
    pub(crate) fn snapshot_if_due(&mut self, stream: &StreamId, every: u64) -> Option<Snapshot> {
        let state = self.state.as_ref().filter(|_| self.sequence - self.snapshot >= every)?;
        self.snapshot = self.sequence;
        match state.to_json() {
            Ok(state) => Some(Snapshot { stream: stream.clone(), sequence: self.sequence, state }),
            Err(error) => {
                tracing::warn!(%stream, %error, "a snapshot can't be written");
                None
            }
        }
    }

    /// Whether the state is missing, and the journal can give it.
    pub(crate) fn is_loadable(&self) -> bool {
        self.state.is_none() && self.uncommitted == 0 && !self.loading
    }
}

/// The slots, the least recently used going first. A slot in use is never evicted, or what is
/// decided next would not know of what is being appended.
pub(crate) struct Cache {
    /// Aggregates, and their members.
    capacity: usize,
    /// As of when each slot was looked for last.
    weight: usize,
    slots: LruCache<StreamId, Slot>,
}

impl Cache {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, weight: 0, slots: LruCache::new_unbounded() }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The slot as the most recently used one; a new one is empty.
    pub(crate) fn touch(&mut self, stream: &StreamId) -> &mut Slot {
        if !self.slots.contains_key(stream) {
            self.slots.insert(stream.clone(), Slot::default());
        }
        let slot = self.slots.get_mut(stream).expect("it was there, or has just been put there");
        weigh(slot, &mut self.weight)
    }

    /// The slot, if there is one, without counting as a use.
    pub(crate) fn peek(&mut self, stream: &StreamId) -> Option<&mut Slot> {
        Some(weigh(self.slots.peek_mut(stream)?, &mut self.weight))
    }

    pub(crate) fn remove(&mut self, stream: &StreamId) {
        let removed = self.slots.remove(stream);
        self.weight -= removed.map_or(0, |slot| slot.weight);
    }

    /// Drops the states of streams, and the commands that wait for them. Gives the number of those.
    pub(crate) fn forget(&mut self, which: impl Fn(&StreamId) -> bool) -> usize {
        let mut parked = 0;
        let mut unused = Vec::new();
        for (stream, slot) in self.slots.iter_mut().filter(|(stream, _)| which(stream)) {
            slot.state = None;
            parked += std::mem::take(&mut slot.parked).len();
            if !slot.is_in_use() {
                unused.push(stream.clone());
            }
        }
        for stream in &unused {
            self.remove(stream);
        }
        parked
    }

    /// Evicts what is over the capacity and not in use.
    pub(crate) fn trim(&mut self) {
        let mut passed_over = 0;
        while self.weight > self.capacity && passed_over < MAX_PASSED_OVER {
            let Some((stream, slot)) = self.slots.remove_lru() else { return };
            if slot.is_in_use() {
                self.slots.insert(stream, slot);
                passed_over += 1;
            } else {
                self.weight -= slot.weight;
            }
        }
    }
}

/// Counts a slot as what it has become.
fn weigh<'a>(slot: &'a mut Slot, all: &mut usize) -> &'a mut Slot {
    let weight = slot.weigh();
    *all = *all - slot.weight + weight;
    slot.weight = weight;
    slot
}

#[cfg(test)]
mod tests {
    use verbatim_domain::conversation::CreateGroup;
    use verbatim_domain::{AggregateType, Conversation, ConversationCommand, UserId};

    use super::*;

    fn stream(id: &str) -> StreamId {
        StreamId::conversation(&id.parse().expect("an id"))
    }

    fn group(members: usize) -> State {
        let user = |n: usize| format!("user{n}").parse::<UserId>().expect("an id");
        let create = CreateGroup {
            creator: user(0),
            members: (1..members).map(user).collect(),
            title: None,
        };
        let events = Conversation::default().decide(&ConversationCommand::CreateGroup(create));
        let mut state = State::new(AggregateType::Conversation);
        for event in events.expect("a group") {
            state.apply(&event.into()).expect("of its kind");
        }
        state
    }

    #[test]
    fn members_count_as_much_as_aggregates() {
        let mut cache = Cache::new(30);
        for id in ["a", "b", "c"] {
            cache.touch(&stream(id)).state = Some(group(9));
            cache.peek(&stream(id));
        }
        cache.trim();
        assert_eq!((cache.len(), cache.weight), (3, 30));
        cache.touch(&stream("a"));
        cache.touch(&stream("d"));
        cache.trim();
        assert!(cache.peek(&stream("b")).is_none(), "it was not used for longest");
        assert_eq!((cache.len(), cache.weight), (3, 21));
        cache.remove(&stream("a"));
        assert_eq!(cache.forget(|of| *of == stream("c")), 0);
        assert_eq!((cache.len(), cache.weight), (1, 1));
    }

    #[test]
    fn what_is_in_use_stays_however_large() {
        let mut cache = Cache::new(5);
        let slot = cache.touch(&stream("a"));
        (slot.state, slot.uncommitted) = (Some(group(9)), 1);
        cache.touch(&stream("b"));
        cache.peek(&stream("a"));
        cache.trim();
        assert_eq!((cache.len(), cache.weight), (1, 10));
        cache.touch(&stream("a")).uncommitted = 0;
        cache.trim();
        assert_eq!((cache.len(), cache.weight), (0, 0));
    }
}
