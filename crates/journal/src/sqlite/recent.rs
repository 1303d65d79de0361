//! The keys of the newest events, which are in memory until they are entered in the index tables.
//!
//! A sweep goes through them in the tables' order, round after round, and enters some with each
//! transaction: as many as come in, once there are so many that neighbours change the same pages. After a crash the events themselves say what was not entered yet.

use std::collections::BTreeMap;
use std::ops::Bound;

use verbatim_domain::StreamId;
use verbatim_protocol::{CommandKey, Recorded};

/// How many events a round of the sweep takes; few in this crate's tests, so that they go round.
const ROUND: u64 = if cfg!(test) { 256 } else { 16_384 };

/// The fewest keys that are entered at once, unless there are no more.
const FEWEST: u64 = 64;

/// What is in no table yet.
#[derive(Debug, Default)]
pub(super) struct Recent {
    streams: Keys<(StreamId, u64)>,
    commands: Keys<CommandKey>,
}

/// Keys that are to be entered by a transaction.
#[derive(Debug, Default)]
pub(super) struct Entries {
    pub streams: Vec<((StreamId, u64), u64)>,
    pub commands: Vec<(CommandKey, u64)>,
    /// All events up to this position are in the tables then.
    pub indexed: u64,
}

impl Recent {
    /// With nothing but what follows on this position.
    pub fn after(indexed: u64) -> Self {
        Self { streams: Keys::after(indexed), commands: Keys::after(indexed) }
    }

    /// Gives the position that was there before, where there should be none.
    pub fn add_to_stream(&mut self, stream: StreamId, sequence: u64, at: u64) -> Option<u64> {
        self.streams.positions.insert((stream, sequence), at)
    }

    /// Gives the position that was there before, where there should be none.
    pub fn add_command(&mut self, key: CommandKey, at: u64) -> Option<u64> {
        self.commands.positions.insert(key, at)
    }

    /// Adds what a transaction is about to store.
    pub fn add<'e>(&mut self, events: impl Iterator<Item = &'e Recorded>) {
        for event in events {
            self.add_to_stream(event.stream.clone(), event.sequence, event.position);
            if let Some(key) = &event.command {
                self.add_command(key.clone(), event.position);
            }
        }
    }

    /// What a transaction is to enter that adds so many events, up to this head.
    pub fn sweep(&mut self, added: u64, head: u64) -> Entries {
        let streams = self.streams.sweep(added, head);
        let commands = self.commands.sweep(added, head);
        Entries { streams, commands, indexed: self.streams.indexed.min(self.commands.indexed) }
    }

    /// Everything, to be entered.
    pub fn all(&self, head: u64) -> Entries {
        Entries { streams: self.streams.all(), commands: self.commands.all(), indexed: head }
    }

    /// Forgets what is in the tables now, for all to see.
    pub fn forget(&mut self, entered: &Entries) {
        for (key, _) in &entered.streams {
            self.streams.positions.remove(key);
        }
        for (key, _) in &entered.commands {
            self.commands.positions.remove(key);
        }
    }

    /// The sequences of a stream from `after` on, with their positions. All before them, and only
    /// those, are in the table.
    pub fn of_stream(
        &self,
        stream: &StreamId,
        after: u64,
    ) -> impl DoubleEndedIterator<Item = (u64, u64)> + use<'_> {
        let from = Bound::Excluded((stream.clone(), after));
        let to = Bound::Included((stream.clone(), u64::MAX));
        self.streams.positions.range((from, to)).map(|((_, sequence), at)| (*sequence, *at))
    }

    /// The position of the last event of the command with this key.
    pub fn of_command(&self, key: &CommandKey) -> Option<u64> {
        self.commands.positions.get(key).copied()
    }
}

/// The keys of one table.
#[derive(Debug)]
struct Keys<K> {
    positions: BTreeMap<K, u64>,
    /// The last key that this round has come to.
    swept: Option<K>,
    /// How many keys are to be entered, times [`ROUND`].
    due: u64,
    /// All up to this position have been entered.
    indexed: u64,
    /// The head when this round began.
    began_at: u64,
}

impl<K> Default for Keys<K> {
    fn default() -> Self {
        Self::after(0)
    }
}

impl<K> Keys<K> {
    fn after(indexed: u64) -> Self {
        Self { positions: BTreeMap::new(), swept: None, due: 0, indexed, began_at: indexed }
    }
}

impl<K: Ord + Clone> Keys<K> {
    /// The next keys to enter, now that so many events were added.
    fn sweep(&mut self, added: u64, head: u64) -> Vec<(K, u64)> {
        let here = self.positions.len() as u64;
        if here == 0 {
            (self.indexed, self.began_at) = (head, head);
        }
        self.due += added * here;
        let due = self.due / ROUND;
        if due == 0 || due < FEWEST.min(here) {
            return Vec::new();
        }
        self.due %= ROUND;
        let from = self.swept.take().map_or(Bound::Unbounded, Bound::Excluded);
        let mut keys = Vec::with_capacity(due as usize);
        let mut swept = None;
        for (key, at) in self.positions.range((from, Bound::Unbounded)) {
            if keys.len() as u64 == due {
                break;
            }
            swept = Some(key);
            // What came during the round is left for the next: else the end may move on as fast.
            if *at <= self.began_at {
                keys.push((key.clone(), *at));
            }
        }
        if keys.len() as u64 == due {
            self.swept = swept.cloned();
        } else {
            self.indexed = self.began_at;
            self.began_at = head;
        }
        keys
    }

    fn all(&self) -> Vec<(K, u64)> {
        self.positions.iter().map(|(key, at)| (key.clone(), *at)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use verbatim_domain::conversation::MemberJoined;
    use verbatim_domain::{ConversationEvent, Event};
    use verbatim_protocol::Timestamp;

    use super::*;

    /// The event at a position, in one of some streams, of a command of its own.
    fn event(position: u64, streams: u64, sequences: &mut BTreeMap<u64, u64>) -> Recorded {
        let number = position * position % streams;
        let sequence = sequences.entry(number).or_default();
        *sequence += 1;
        let joined = MemberJoined { member_id: "ann".parse().expect("an id") };
        Recorded {
            position,
            stream: stream(number),
            sequence: *sequence,
            recorded_at: Timestamp(0),
            command: Some(CommandKey {
                issuer: "ann".into(),
                key: (position.wrapping_mul(0x9e37_79b9) % 100_003).to_string().into(),
            }),
            metadata: "{}".into(),
            event: Event::Conversation(ConversationEvent::MemberJoined(joined)),
            original: None,
        }
    }

    fn stream(number: u64) -> StreamId {
        StreamId::conversation(&format!("c{number}").parse().expect("an id"))
    }

    #[test]
    fn each_key_is_in_memory_or_entered_and_all_up_to_what_is_told_are_entered() {
        for (streams, batch) in [(1, 1), (3, 7), (40, 16), (500, 100), (7, 1_000)] {
            let mut recent = Recent::default();
            let (mut streams_in, mut commands_in) = (BTreeMap::new(), BTreeMap::new());
            let mut sequences = BTreeMap::new();
            let mut events: Vec<Arc<Recorded>> = Vec::new();
            let mut indexed = 0;
            while events.len() < 6_000 {
                let head = events.len() as u64;
                let added: Vec<_> = (head + 1..=head + batch)
                    .map(|position| Arc::new(event(position, streams, &mut sequences)))
                    .collect();
                events.extend(added.iter().cloned());
                recent.add(added.iter().map(AsRef::as_ref));
                let entries = recent.sweep(batch, head + batch);
                for (key, position) in entries.streams.iter().cloned() {
                    assert_eq!(streams_in.insert(key, position), None, "entered once");
                }
                for (key, position) in entries.commands.iter().cloned() {
                    assert_eq!(commands_in.insert(key, position), None, "entered once");
                }
                recent.forget(&entries);
                assert!(entries.indexed >= indexed, "it never goes back");
                indexed = entries.indexed;
            }
            assert!(indexed > 3_000, "of {} events, {indexed} are entered for sure", events.len());
            assert!(
                recent.streams.positions.len() < 3_000 && recent.commands.positions.len() < 3_000
            );
            for event in &events {
                let key = event.command.as_ref().expect("a key");
                let is_entered = (
                    streams_in.contains_key(&(event.stream.clone(), event.sequence)),
                    commands_in.contains_key(key),
                );
                assert!(event.position > indexed || is_entered == (true, true));
                assert_eq!(recent.of_command(key).is_none(), is_entered.1);
                let mut after = recent.of_stream(&event.stream, event.sequence - 1);
                // What is in memory of a stream comes after all that is entered.
                let first = after.next().map(|(sequence, _)| sequence);
                assert_eq!(first == Some(event.sequence), !is_entered.0);
            }
            let rest = recent.all(events.len() as u64);
            recent.forget(&rest);
            assert_eq!(streams_in.len() + rest.streams.len(), events.len());
            assert_eq!(commands_in.len() + rest.commands.len(), events.len());
            assert!(recent.of_stream(&stream(0), 0).next().is_none());
        }
    }

    #[test]
    fn without_keys_there_is_nothing_to_enter() {
        let mut recent = Recent::after(7);
        let entries = recent.sweep(1_000, 1_007);
        assert!(entries.streams.is_empty() && entries.commands.is_empty());
        assert_eq!(entries.indexed, 1_007);
    }
}
