//! Events as the aggregate service would have recorded them, made up: for journals that are to be
//! large, and for databases that are to take as much as Verbatim's.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use anyhow::Context as _;
use cqrs_es::Aggregate;
use uuid::Uuid;
use verbatim_domain::conversation::{Author, PersonalMessage, SendMessage};
use verbatim_domain::inbox::{DeliveryAdvanced, DeliveryOutcome};
use verbatim_domain::{
    Ciphertext, Conversation, ConversationCommand, Event, InboxEvent, KeyId, MessageId, Personal,
    Sealed, StreamId, UserId,
};
use verbatim_journal::Snapshot;
use verbatim_keys::{Context, SubjectKey, Vault};
use verbatim_protocol::{Command, CommandKey, Recorded, Timestamp};

use crate::cast::Cast;

/// A conversation that has come further than this since its start is kept as a snapshot, too.
const LONG: u64 = 500;

/// What its people say in one conversation after the other, over and over.
pub struct Events {
    cast: Cast,
    /// Messages in a conversation until the next has its turn.
    in_a_row: usize,
    content: String,
    /// Of the senders, by their pairs; without them nobody can read what they say.
    keys: Vec<Arc<SubjectKey>>,
    conversations: HashMap<usize, Spoken>,
    /// How many events inboxes have, by their owners.
    inboxes: HashMap<UserId, u64>,
    messages: usize,
    position: u64,
    /// Of a message that was begun.
    waiting: VecDeque<Arc<Recorded>>,
}

/// A conversation, and how many events it has.
#[derive(Default)]
struct Spoken {
    state: Conversation,
    sequence: u64,
}

impl Events {
    /// With so many bytes in each message, and so many messages in a row.
    pub fn new(cast: Cast, bytes: usize, in_a_row: usize) -> Self {
        Self {
            cast,
            in_a_row,
            content: "x".repeat(bytes),
            keys: Vec::new(),
            conversations: HashMap::new(),
            inboxes: HashMap::new(),
            messages: 0,
            position: 0,
            waiting: VecDeque::new(),
        }
    }

    /// Has what is said encrypted as gateways do, with the senders' keys.
    ///
    /// # Errors
    /// The key store's.
    pub async fn encrypt(&mut self, vault: &Vault) -> anyhow::Result<()> {
        for pair in 0..self.cast.pairs {
            self.keys.push(vault.in_use(&self.cast.sender(pair).parse()?).await?);
        }
        Ok(())
    }

    pub fn position(&self) -> u64 {
        self.position
    }

    /// The conversation whose turn it is.
    fn turn(&self) -> usize {
        self.messages / self.in_a_row % self.cast.conversations()
    }

    /// The command that says the next thing.
    pub fn command(&self) -> anyhow::Result<Command> {
        let number = self.turn();
        let pair = number % self.cast.pairs;
        let id = self.cast.conversation(number).parse()?;
        let user_id = self.cast.sender(pair).parse()?;
        let personal = match self.keys.get(pair) {
            Some(key) => {
                let place = Context { conversation: &id, sender: &user_id };
                Personal::Sealed(key.seal(&PersonalMessage::text(&self.content), place)?)
            }
            None => unreadable(&self.content)?,
        };
        let send = SendMessage {
            message_id: MessageId(Uuid::now_v7()),
            author: Author { user_id, role: "user".to_owned() },
            target: Some(self.cast.recipient(pair).parse()?),
            client_message_id: None,
            personal,
        };
        Ok(Command::Conversation { id, command: ConversationCommand::SendMessage(send) })
    }

    /// The events of the next message; before it, if it is its conversation's first, those of the
    /// start.
    pub fn message(&mut self) -> anyhow::Result<Vec<Arc<Recorded>>> {
        let command = self.command()?;
        let stream = command.stream();
        let Command::Conversation { command, .. } = command else { return Ok(Vec::new()) };
        let number = self.turn();
        let spoken = self.conversations.entry(number).or_default();
        let events = spoken.state.decide(&command)?;
        let expected = spoken.sequence;
        spoken.sequence += events.len() as u64;
        for event in &events {
            spoken.state.apply(event.clone());
        }
        self.messages += 1;
        Ok(self.record(&stream, expected, events.into_iter().map(Event::from)))
    }

    /// That the one who was spoken to last has received everything.
    pub fn received(&mut self) -> anyhow::Result<Vec<Arc<Recorded>>> {
        let Some(last) = self.messages.checked_sub(1) else { return Ok(Vec::new()) };
        let pair = last / self.in_a_row % self.cast.conversations() % self.cast.pairs;
        self.received_by(&self.cast.recipient(pair))
    }

    /// That the senders have received everything: their own messages.
    pub fn received_by_senders(&mut self) -> anyhow::Result<Vec<Arc<Recorded>>> {
        let mut events = Vec::new();
        for pair in 0..self.cast.pairs {
            events.append(&mut self.received_by(&self.cast.sender(pair))?);
        }
        Ok(events)
    }

    fn received_by(&mut self, user: &str) -> anyhow::Result<Vec<Arc<Recorded>>> {
        let user: UserId = user.parse()?;
        let (through, outcome) = (self.position, DeliveryOutcome::Acknowledged);
        let event = InboxEvent::DeliveryAdvanced(DeliveryAdvanced { through, outcome });
        let sequence = self.inboxes.entry(user.clone()).or_default();
        let expected = *sequence;
        *sequence += 1;
        let stream = StreamId::inbox(&user);
        Ok(self.record(&stream, expected, [event.into()].into_iter()))
    }

    /// The next `count` events, whichever messages they are of.
    pub fn batch(&mut self, count: usize) -> anyhow::Result<Vec<Arc<Recorded>>> {
        while self.waiting.len() < count {
            let message = self.message()?;
            self.waiting.extend(message);
        }
        Ok(self.waiting.drain(..count).collect())
    }

    /// Of long conversations, as the aggregate service keeps them: else the first message would have
    /// to wait until all before it were read.
    pub fn snapshots(&self) -> anyhow::Result<Vec<Snapshot>> {
        let long = self.conversations.iter().filter(|(_, spoken)| spoken.sequence > LONG);
        long.map(|(number, spoken)| {
            Ok(Snapshot {
                stream: StreamId::conversation(&self.cast.conversation(*number).parse()?),
                sequence: spoken.sequence,
                state: serde_json::to_string(&spoken.state).context("a state is always JSON")?,
            })
        })
        .collect()
    }

    fn record(
        &mut self,
        stream: &StreamId,
        expected: u64,
        events: impl ExactSizeIterator<Item = Event>,
    ) -> Vec<Arc<Recorded>> {
        let command_id = Uuid::now_v7();
        let metadata: Arc<str> = format!(r#"{{"commandId":"{command_id}"}}"#).into();
        let recorded_at = Timestamp::now();
        let last = events.len();
        let recorded = (1..).zip(events).map(|(number, event)| {
            self.position += 1;
            let key = CommandKey { issuer: "$gateway".into(), key: command_id.to_string().into() };
            Arc::new(Recorded {
                position: self.position,
                stream: stream.clone(),
                sequence: expected + number as u64,
                recorded_at,
                command: (number == last).then_some(key),
                metadata: Arc::clone(&metadata),
                event,
                original: None,
            })
        });
        recorded.collect()
    }
}

/// Content as long as encryption makes it.
fn unreadable(content: &str) -> anyhow::Result<Personal> {
    const NONCE_AND_TAG: usize = 12 + 16;
    let length = serde_json::to_vec(&PersonalMessage::text(content))?.len() + NONCE_AND_TAG;
    let (key, sealed) = (KeyId(Uuid::from_u128(1)), Ciphertext(vec![0x5e; length]));
    Ok(Personal::Sealed(Sealed { key, sealed }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_has_as_many_events_as_wanted_and_positions_go_on() {
        let mut events = Events::new(Cast::new(2), 100, 1);
        let batches = [events.batch(3), events.batch(7), events.batch(1)];
        let batches = batches.map(|batch| batch.expect("events"));
        assert_eq!(batches.each_ref().map(Vec::len), [3, 7, 1]);
        let positions: Vec<_> = batches.concat().iter().map(|event| event.position).collect();
        assert_eq!(positions, (1..=11).collect::<Vec<_>>());
    }

    #[test]
    fn a_conversation_starts_once() {
        let mut events = Events::new(Cast::new(1), 100, 1);
        let counts = [0; 3].map(|_| events.message().expect("events").len());
        assert_eq!(counts, [4, 1, 1]);
    }

    #[test]
    fn conversations_have_their_turns() {
        let mut events = Events::new(Cast::new(2), 100, 2);
        let streams = [0; 5].map(|_| events.message().expect("events")[0].stream.to_string());
        let talks = streams.map(|stream| stream.split('-').nth(1).map(str::to_owned));
        assert_eq!(talks.map(Option::unwrap_or_default), ["0", "0", "1", "1", "0"]);
    }

    #[test]
    fn names_that_are_no_ids_are_refused() {
        let events = Events::new(Cast::named("no id"), 100, 1);
        assert!(events.command().is_err());
    }
}
