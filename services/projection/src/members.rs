//! Who belongs to a conversation at a given place in the log.
//!
//! Kept from the events that pass, so that what follows on a new member or a new conversation knows
//! of them at once. What is not remembered is loaded from the views, as of the batch's beginning.
//! The views may lag: they only need to show the changes that nobody here remembers.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use hashlink::LruCache;
use verbatim_domain::conversation::ConversationKind;
use verbatim_domain::{ConversationEvent, ConversationId, Event, UserId};
use verbatim_protocol::Recorded;
use verbatim_views::{Members, Views};

use crate::retry::until_available;

/// How long the views have to catch up before it is logged that they are slow.
const PATIENCE: Duration = Duration::from_secs(5);

/// Conversations loaded at once.
const LOADS: usize = 256;

/// A conversation as of the last event that was followed.
pub(crate) struct Conversation {
    pub id: ConversationId,
    pub kind: ConversationKind,
    members: Joined,
    /// The position of the last change that was followed, 0 if there was none.
    changed: u64,
}

enum Joined {
    /// More are expected: members join one by one when a conversation starts.
    Growing(Vec<UserId>),
    Settled(Arc<[UserId]>),
}

impl Conversation {
    /// The members, shared among all messages until the next one joins.
    pub fn members(&mut self) -> Arc<[UserId]> {
        match &mut self.members {
            Joined::Settled(members) => members.clone(),
            Joined::Growing(members) => {
                let members: Arc<[UserId]> = std::mem::take(members).into();
                self.members = Joined::Settled(members.clone());
                members
            }
        }
    }

    fn join(&mut self, member: UserId, position: u64) {
        self.changed = position;
        match &mut self.members {
            Joined::Growing(members) => members.push(member),
            Joined::Settled(members) => {
                self.members = Joined::Growing(members.iter().cloned().chain([member]).collect());
            }
        }
    }

    fn weight(&self) -> usize {
        1 + match &self.members {
            Joined::Growing(members) => members.len(),
            Joined::Settled(members) => members.len(),
        }
    }
}

/// The conversations that were active last.
pub(crate) struct Memberships {
    views: Arc<dyn Views>,
    conversations: LruCache<Arc<str>, Conversation>,
    /// Members and conversations remembered.
    weight: usize,
    capacity: usize,
    /// The last position at which a conversation changed that is not remembered, or may have.
    unknown_to: u64,
}

impl Memberships {
    /// Follows the events above `after`. Remembers up to `capacity` members, and those of one batch
    /// beyond.
    pub fn new(views: Arc<dyn Views>, capacity: usize, after: u64) -> Self {
        let conversations = LruCache::new_unbounded();
        Self { views, conversations, weight: 0, capacity, unknown_to: after }
    }

    /// Loads what following the batch will need. The batch follows on the last one. Waits for the
    /// views, however long.
    ///
    /// # Errors
    /// The views are corrupt, or lack a conversation that the log has.
    pub async fn prepare(&mut self, batch: &[Arc<Recorded>]) -> anyhow::Result<()> {
        let Some(first) = batch.first().map(|event| event.position) else { return Ok(()) };
        self.trim();
        let mut missing = Vec::new();
        let mut seen = HashSet::new();
        for recorded in batch {
            let id = &recorded.stream.aggregate_id;
            match &recorded.event {
                Event::Conversation(ConversationEvent::ConversationStarted(_)) => {
                    seen.insert(id);
                }
                Event::Conversation(
                    ConversationEvent::MessageSent(_) | ConversationEvent::MemberJoined(_),
                ) if !self.conversations.contains_key(id) && seen.insert(id) => {
                    missing.push(id.clone());
                }
                _ => {}
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let (views, needed) = (&self.views, self.unknown_to);
        until_available("views.reached", || views.reached(needed, PATIENCE))
            .await
            .with_context(|| format!("waiting for the views to reach position {needed}"))?;
        let mut loaded = Vec::with_capacity(missing.len());
        for keys in missing.chunks(LOADS) {
            load(&**views, keys, first, &mut loaded).await?;
        }
        for conversation in loaded {
            self.insert(conversation.id.as_str().into(), conversation);
        }
        Ok(())
    }

    /// Takes in the next event of a prepared batch. Gives the conversation that it is about, as it
    /// is after the event, for what changes or needs its members.
    ///
    /// # Errors
    /// The log speaks of a conversation that it never started.
    pub fn follow(&mut self, recorded: &Recorded) -> anyhow::Result<Option<&mut Conversation>> {
        let Event::Conversation(event) = &recorded.event else { return Ok(None) };
        let key = &recorded.stream.aggregate_id;
        match event {
            ConversationEvent::ConversationStarted(started) => {
                let conversation = Conversation {
                    id: key.parse().with_context(|| format!("conversation {key:?}"))?,
                    kind: started.kind,
                    members: Joined::Growing(Vec::new()),
                    changed: recorded.position,
                };
                self.insert(key.clone(), conversation);
            }
            ConversationEvent::MemberJoined(joined) => {
                self.get(recorded)?.join(joined.member_id.clone(), recorded.position);
                self.weight += 1;
            }
            ConversationEvent::MessageSent(_) => {}
            ConversationEvent::ConversationRead(_) => return Ok(None),
        }
        self.get(recorded).map(Some)
    }

    fn get(&mut self, recorded: &Recorded) -> anyhow::Result<&mut Conversation> {
        self.conversations.get_mut(&recorded.stream.aggregate_id).ok_or_else(|| {
            anyhow!("position {}: {} was never started", recorded.position, recorded.stream)
        })
    }

    fn insert(&mut self, key: Arc<str>, conversation: Conversation) {
        self.weight += conversation.weight();
        if let Some(old) = self.conversations.insert(key, conversation) {
            self.weight -= old.weight();
        }
    }

    /// Forgets what was not needed for longest. Only between batches, so that what a batch needs
    /// stays.
    fn trim(&mut self) {
        while self.weight > self.capacity {
            let Some((_, forgotten)) = self.conversations.remove_lru() else { break };
            self.weight -= forgotten.weight();
            self.unknown_to = self.unknown_to.max(forgotten.changed);
        }
    }
}

/// Conversations as of the events below `position`.
async fn load(
    views: &dyn Views,
    keys: &[Arc<str>],
    position: u64,
    loaded: &mut Vec<Conversation>,
) -> anyhow::Result<()> {
    let id = |key: &Arc<str>| key.parse().with_context(|| format!("conversation {key:?}"));
    let ids = keys.iter().map(id).collect::<anyhow::Result<Vec<ConversationId>>>()?;
    let mut found = until_available("views.members", || views.members(&ids))
        .await
        .context("loading the members of conversations")?;
    for id in ids {
        let Members { kind, members } = found
            .remove(&id)
            .ok_or_else(|| anyhow!("the views lack conversation {id}, started below {position}"))?;
        let members = members.into_iter().filter(|member| member.joined_position < position);
        let members = Joined::Settled(members.map(|member| member.user_id).collect());
        loaded.push(Conversation { id, kind, members, changed: 0 });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
