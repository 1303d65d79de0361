//! Whether lines can be brought in, before any is.
//!
//! Of the file's conversations only hashes are kept: some bytes for each of them and its members. Two
//! that are taken for one by chance are told apart when they are written.

use std::collections::HashSet;
use std::collections::hash_map::{Entry as Slot, HashMap};
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;

use verbatim_domain::conversation::{ImportConversation, ImportError, ImportMessage};
use verbatim_domain::{ConversationId, UserId};
use verbatim_journal::Journal;

use super::entry::Entry;
use super::known::Conversations;

/// What is wrong with a line.
type Problem = String;

pub struct Check {
    /// `None` where there is no store yet, or an empty one.
    store: Option<(Arc<dyn Journal>, Conversations)>,
    hasher: RandomState,
    /// The file's conversations, and what its line says of each.
    conversations: HashMap<u64, u64>,
    /// Members of those that the store hasn't.
    members: HashSet<u64>,
}

impl Check {
    pub fn new(journal: Option<Arc<dyn Journal>>) -> Self {
        Self {
            store: journal.map(|journal| (Arc::clone(&journal), Conversations::new(journal))),
            hasher: RandomState::new(),
            conversations: HashMap::new(),
            members: HashSet::new(),
        }
    }

    /// What is wrong with the next line, if anything.
    pub async fn judge(&mut self, entry: &Entry) -> anyhow::Result<Result<(), Problem>> {
        let broken = match entry {
            Entry::Conversation(id, import) => self.conversation(id, import).await?,
            Entry::Message(id, import) => self.message(id, import, entry).await?,
        };
        Ok(broken.map_err(|broken| broken.to_string()))
    }

    async fn conversation(
        &mut self,
        id: &ConversationId,
        import: &ImportConversation,
    ) -> anyhow::Result<Result<(), ImportError>> {
        let (key, says) = (self.hash(id), self.hash(format!("{import:?}")));
        match self.conversations.entry(key) {
            Slot::Occupied(known) if *known.get() == says => return Ok(Ok(())),
            Slot::Occupied(_) => return Ok(Err(ImportError::AlreadyExists)),
            Slot::Vacant(free) => {
                free.insert(says);
            }
        }
        let stored = match &mut self.store {
            None => false,
            Some((_, conversations)) => {
                conversations.prepare([id]).await?;
                let known = conversations.get(id);
                if let Err(broken) = known.state.import(import) {
                    return Ok(Err(broken));
                }
                let is_old = known.is_old;
                conversations.trim().await?;
                is_old
            }
        };
        if !stored {
            for member in &import.members {
                let member = self.member(id, member);
                self.members.insert(member);
            }
        }
        Ok(Ok(()))
    }

    async fn message(
        &mut self,
        id: &ConversationId,
        import: &ImportMessage,
        entry: &Entry,
    ) -> anyhow::Result<Result<(), ImportError>> {
        if self.members.contains(&self.member(id, &import.sender_id)) {
            return Ok(Ok(()));
        }
        let is_in_file = self.conversations.contains_key(&self.hash(id));
        let missing = if is_in_file { ImportError::NotAMember } else { ImportError::NotFound };
        let Some((journal, conversations)) = &mut self.store else { return Ok(Err(missing)) };
        conversations.prepare([id]).await?;
        let known = conversations.get(id);
        if !known.is_old {
            return Ok(Err(missing));
        }
        Ok(match known.state.import_message(import) {
            Ok(_) => Ok(()),
            // What is there already is not brought in again.
            Err(ImportError::GoesOn) if journal.find_by_key(&entry.key()).await?.is_some() => {
                Ok(())
            }
            Err(broken) => Err(broken),
        })
    }

    fn hash(&self, of: impl Hash) -> u64 {
        self.hasher.hash_one(of)
    }

    fn member(&self, id: &ConversationId, member: &UserId) -> u64 {
        self.hash((id, member))
    }
}
