//! Writing what isn't there yet, many events a transaction.

use std::fmt;
use std::sync::Arc;

use anyhow::{bail, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use uuid::Uuid;
use verbatim_domain::conversation::{ImportError, ImportMessage};
use verbatim_domain::{ConversationEvent, ConversationId, Event, StreamId};
use verbatim_journal::{Append, Appended};
use verbatim_protocol::Recorded;

use super::entry::Entry;
use super::known::Conversations;
use super::store::Store;

/// Lines, and bytes of them, that are written at once.
const LINES: usize = 2_000;
const BYTES: usize = 4 << 20;
/// Keys looked for at once.
const LOOK_UPS: usize = 16;

/// What became of the lines.
#[derive(Debug, Default)]
pub struct Tally {
    conversations: u64,
    messages: u64,
    /// Those that were there already.
    present: u64,
}

struct Numbered {
    line: u64,
    entry: Entry,
}

pub struct Writer<'s> {
    store: &'s Store,
    conversations: Conversations,
    waiting: Vec<Numbered>,
    bytes: usize,
    tally: Tally,
}

impl<'s> Writer<'s> {
    pub fn new(store: &'s Store) -> Self {
        Self {
            store,
            conversations: Conversations::new(store.taken()),
            waiting: Vec::new(),
            bytes: 0,
            tally: Tally::default(),
        }
    }

    pub fn add(&mut self, line: u64, entry: Entry, bytes: usize) {
        self.waiting.push(Numbered { line, entry });
        self.bytes += bytes;
    }

    pub fn is_full(&self) -> bool {
        self.waiting.len() >= LINES || self.bytes >= BYTES
    }

    /// Writes what waits, and tells of each line that says something else than what is there.
    pub async fn settle(&mut self, mut tell: impl FnMut(u64, String)) -> anyhow::Result<()> {
        self.bytes = 0;
        let mut waiting = std::mem::take(&mut self.waiting);
        while !waiting.is_empty() {
            let before = waiting.len();
            waiting = self.round(waiting, &mut tell).await?;
            // The first of each conversation is settled each time, unless somebody else writes there.
            ensure!(waiting.len() < before, "another process writes to the store");
        }
        self.conversations.trim().await
    }

    pub fn finish(self) -> Tally {
        self.tally
    }

    /// Gives back what is to be tried again, because it was decided on what had come to nothing.
    async fn round(
        &mut self,
        entries: Vec<Numbered>,
        tell: &mut impl FnMut(u64, String),
    ) -> anyhow::Result<Vec<Numbered>> {
        let ids = entries.iter().map(|numbered| numbered.entry.conversation_id());
        self.conversations.prepare(ids).await?;
        let (mut appends, mut appended, mut late) = (Vec::new(), Vec::new(), Vec::new());
        for numbered in entries {
            match self.decide(&numbered.entry) {
                Ok(Some(append)) => {
                    appends.push(append);
                    appended.push(numbered);
                }
                Ok(None) => self.tally.present += 1,
                Err(ImportError::GoesOn) => late.push(numbered),
                Err(broken) => tell(numbered.line, broken.to_string()),
            }
        }
        self.look_up(late, tell).await?;
        let outcomes = self.store.append(appends).await?;
        let mut again = Vec::new();
        for (numbered, outcome) in appended.into_iter().zip(outcomes) {
            match outcome {
                Appended::Committed(_) => {
                    self.conversations.commit(numbered.entry.conversation_id());
                    match numbered.entry {
                        Entry::Conversation(..) => self.tally.conversations += 1,
                        Entry::Message(..) => self.tally.messages += 1,
                    }
                }
                Appended::Duplicate(recorded) => {
                    self.conversations.undo(numbered.entry.conversation_id());
                    self.found(&numbered, &recorded, tell);
                }
                Appended::Conflict => {
                    self.conversations.undo(numbered.entry.conversation_id());
                    again.push(numbered);
                }
                Appended::Fenced => {
                    bail!("an aggregate worker has taken over: stop it, and import again")
                }
            }
        }
        self.conversations.settle();
        Ok(again)
    }

    /// Whether what comes too late for its conversation is there already.
    async fn look_up(
        &mut self,
        late: Vec<Numbered>,
        tell: &mut impl FnMut(u64, String),
    ) -> anyhow::Result<()> {
        let journal = self.store.taken();
        let look_ups = late.into_iter().map(|numbered| {
            let journal = Arc::clone(&journal);
            async move {
                let found = journal.find_by_key(&numbered.entry.key()).await?;
                Ok::<_, anyhow::Error>((numbered, found))
            }
        });
        let mut look_ups = stream::iter(look_ups).buffered(LOOK_UPS);
        while let Some((numbered, found)) = look_ups.try_next().await? {
            match found {
                Some(recorded) => self.found(&numbered, &recorded, tell),
                None => tell(numbered.line, ImportError::GoesOn.to_string()),
            }
        }
        Ok(())
    }

    /// Holds an entry against what was recorded under its key.
    fn found(
        &mut self,
        numbered: &Numbered,
        recorded: &Recorded,
        tell: &mut impl FnMut(u64, String),
    ) {
        match &numbered.entry {
            Entry::Message(id, import) if !is_alike(id, import, recorded) => {
                tell(numbered.line, "another message of this id is there already".to_owned());
            }
            _ => self.tally.present += 1,
        }
    }

    /// What an entry adds, nothing if it is there, or the rule that it breaks.
    fn decide(&mut self, entry: &Entry) -> Result<Option<Append>, ImportError> {
        let id = entry.conversation_id();
        let known = self.conversations.get(id);
        let expected = known.sequence;
        let events = match entry {
            Entry::Conversation(_, import) => known.state.import(import)?,
            Entry::Message(_, import) => vec![known.state.import_message(import)?],
        };
        if events.is_empty() {
            return Ok(None);
        }
        self.conversations.apply(id, &events);
        Ok(Some(Append {
            stream: StreamId::conversation(id),
            expected,
            events: events.into_iter().map(Event::from).collect(),
            key: entry.key(),
            metadata: format!(r#"{{"commandId":"{}"}}"#, Uuid::now_v7()).into(),
        }))
    }
}

/// Whether a message that was brought in says what this one says.
fn is_alike(id: &ConversationId, import: &ImportMessage, recorded: &Recorded) -> bool {
    let Event::Conversation(ConversationEvent::MessageSent(sent)) = &recorded.event else {
        return false;
    };
    recorded.stream == StreamId::conversation(id)
        && sent.sender_id == import.sender_id
        && sent.sender_role == import.sender_role
        && sent.personal == import.personal
        && sent.imported.is_some_and(|imported| imported.sent_at == import.sent_at)
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { conversations, messages, present } = self;
        write!(
            f,
            "imported {conversations} conversations and {messages} messages; \
             {present} lines were there already"
        )
    }
}
