//! Writing what isn't there yet, many events a transaction.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt, stream};
use uuid::Uuid;
use verbatim_domain::conversation::{ImportError, ImportMessage};
use verbatim_domain::{ConversationEvent, ConversationId, Event, Personal, StreamId, UserId};
use verbatim_journal::{Append, Appended};
use verbatim_keys::{Context, Shown, SubjectKey};
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

/// The key of each user.
type KeysOf = HashMap<UserId, Arc<SubjectKey>>;

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
        let keys = self.keys_of(&entries).await?;
        let (mut appends, mut appended, mut late) = (Vec::new(), Vec::new(), Vec::new());
        for numbered in entries {
            match self.decide(&numbered.entry, &keys)? {
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
                    self.found(&numbered, recorded, tell).await?;
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
                Some(recorded) => self.found(&numbered, recorded, tell).await?,
                None => tell(numbered.line, ImportError::GoesOn.to_string()),
            }
        }
        Ok(())
    }

    /// The keys of those who said something.
    async fn keys_of(&self, entries: &[Numbered]) -> anyhow::Result<KeysOf> {
        let senders: HashSet<_> = entries
            .iter()
            .filter_map(|numbered| match &numbered.entry {
                Entry::Message(_, import) => Some(import.sender_id.clone()),
                Entry::Conversation(..) => None,
            })
            .collect();
        let keys = self.store.keys();
        // All at once, so that they are stored at once.
        let found = senders.into_iter().map(async |sender| {
            let key = keys.in_use(&sender).await?;
            anyhow::Ok((sender, key))
        });
        try_join_all(found).await.map(HashMap::from_iter)
    }

    /// Holds an entry against what was recorded under its key.
    async fn found(
        &mut self,
        numbered: &Numbered,
        recorded: Arc<Recorded>,
        tell: &mut impl FnMut(u64, String),
    ) -> anyhow::Result<()> {
        let mut shown = [Shown::from(recorded)];
        self.store.keys().open_all(&mut shown).await?;
        ensure!(
            !shown[0].is_unreadable(),
            "line {}: what is there can't be read: its key is missing",
            numbered.line
        );
        match &numbered.entry {
            Entry::Message(id, import) if !is_alike(id, import, &shown[0].recorded) => {
                tell(numbered.line, "another message of this id is there already".to_owned());
            }
            _ => self.tally.present += 1,
        }
        Ok(())
    }

    /// What an entry adds, nothing if it is there, or the rule that it breaks.
    fn decide(
        &mut self,
        entry: &Entry,
        keys: &KeysOf,
    ) -> anyhow::Result<Result<Option<Append>, ImportError>> {
        let id = entry.conversation_id();
        let known = self.conversations.get(id);
        let expected = known.sequence;
        let decided = match entry {
            Entry::Conversation(_, import) => known.state.import(import),
            Entry::Message(_, import) => {
                let import = sealed(id, import, keys)?;
                known.state.import_message(&import).map(|event| vec![event])
            }
        };
        let events = match decided {
            Ok(events) if events.is_empty() => return Ok(Ok(None)),
            Ok(events) => events,
            Err(broken) => return Ok(Err(broken)),
        };
        self.conversations.apply(id, &events);
        Ok(Ok(Some(Append {
            stream: StreamId::conversation(id),
            expected,
            events: events.into_iter().map(Event::from).collect(),
            key: entry.key(),
            metadata: format!(r#"{{"commandId":"{}"}}"#, Uuid::now_v7()).into(),
        })))
    }
}

/// A message as it is stored.
fn sealed(
    id: &ConversationId,
    import: &ImportMessage,
    keys: &KeysOf,
) -> anyhow::Result<ImportMessage> {
    let mut sealed = import.clone();
    if let Personal::Plain(said) = &import.personal {
        let key = keys.get(&import.sender_id).context("there is a key of each sender")?;
        let place = Context { conversation: id, sender: &import.sender_id };
        sealed.personal = Personal::Sealed(key.seal(said, place)?);
    }
    Ok(sealed)
}

/// Whether a message that was brought in says what this one says; what was erased since can't be asked.
fn is_alike(id: &ConversationId, import: &ImportMessage, recorded: &Recorded) -> bool {
    let Event::Conversation(ConversationEvent::MessageSent(sent)) = &recorded.event else {
        return false;
    };
    recorded.stream == StreamId::conversation(id)
        && sent.sender_id == import.sender_id
        && sent.sender_role == import.sender_role
        && (sent.personal.plain().is_none() || sent.personal == import.personal)
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
