//! What events make of what was known before them. No I/O: the projector loads and stores.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use verbatim_domain::conversation::MessageSent;
use verbatim_domain::inbox::{DeliveryAdvanced, DeliveryOutcome};
use verbatim_domain::{ConnectionsEvent, ConversationEvent, Event, InboxEvent};
use verbatim_protocol::client::SenderKind;
use verbatim_protocol::{Recorded, Timestamp};

use crate::Error;
use crate::connections::Standing;
use crate::figures::{Figure, Figures};
use crate::key::{self, Cells, Kind, Of, RECORDED, SAMPLE, Unit};
use crate::state::{self, Awaited, News, Person, Question, STRETCH, Talk};
use crate::store::{Key, Value};

/// What must be known to fold some events.
#[derive(Debug, Default)]
pub struct Needed {
    pub keys: BTreeSet<Key>,
    /// What users wait for, as far as the events say that it has come.
    pub ranges: BTreeMap<Key, Key>,
    /// Of these the first row each.
    pub firsts: BTreeSet<(Key, Key)>,
}

impl Needed {
    pub fn by(events: &[Arc<Recorded>]) -> Self {
        let mut needed = Self::default();
        for recorded in events {
            needed.add(recorded);
        }
        needed
    }

    fn add(&mut self, recorded: &Recorded) {
        let id = &*recorded.stream.aggregate_id;
        match &recorded.event {
            Event::Conversation(ConversationEvent::MessageSent(sent)) => {
                self.keys.insert(key::talk(id));
                self.keys.insert(key::person(sent.sender_id.as_str()));
            }
            Event::Conversation(ConversationEvent::MemberJoined(_)) => {
                self.keys.insert(key::talk(id));
            }
            Event::Inbox(InboxEvent::NotificationCreated(created)) => {
                self.first(id, created.message_position);
            }
            Event::Inbox(InboxEvent::DeliveryAdvanced(advanced)) => {
                let high = key::awaited(id, advanced.through.saturating_add(1));
                let end = self.ranges.entry(key::awaited(id, 0)).or_default();
                *end = high.max(std::mem::take(end));
                // It may be in the middle of a stretch.
                self.first(id, advanced.through.saturating_add(1));
            }
            Event::Connections(_) => {
                self.keys.insert(SAMPLE.to_vec());
            }
            Event::Conversation(
                ConversationEvent::ConversationStarted(_) | ConversationEvent::ConversationRead(_),
            )
            | Event::Inbox(InboxEvent::NotificationRead(_))
            | Event::Audit(_)
            | Event::Erasures(_) => {}
        }
    }

    /// The stretch that a message is in which a user waits for.
    fn first(&mut self, user_id: &str, position: u64) {
        self.firsts.insert((key::awaited(user_id, position), key::awaited(user_id, u64::MAX)));
    }
}

/// Messages that belong to the same cells.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Part {
    kind: Kind,
    hour: Timestamp,
    conversation_id: Arc<str>,
    role: Arc<str>,
}

/// Those of the conversation; the others are shared with other parts.
const CELLS_OF_A_PART: usize = 2;

/// A message that is waited for.
#[derive(Debug)]
struct Waiting {
    message: Awaited,
    /// The last position of the stretch that it is stored in; none yet if it is new.
    stretch: Option<u64>,
}

/// What is known while events are folded.
#[derive(Debug, Default)]
pub struct Fold {
    rows: HashMap<Key, Value>,
    talks: HashMap<Arc<str>, Talk>,
    persons: HashMap<Arc<str>, Person>,
    awaited: BTreeMap<Key, Waiting>,
    standing: Option<Standing>,
    recorded_at: Option<Timestamp>,
    /// What is to be added to all cells that a part belongs to.
    parts: HashMap<Part, Figures>,
    /// What is to be added to cells.
    cells: HashMap<Key, Figures>,
    /// How often a message came to be awaited.
    awaited_added: usize,
}

impl Fold {
    /// Begins with what is stored of what is [needed](Needed).
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn new(rows: impl IntoIterator<Item = (Key, Value)>) -> Result<Self, Error> {
        let mut fold = Self { rows: rows.into_iter().collect(), ..Self::default() };
        for (key, value) in &fold.rows {
            if let Some((user, last)) = key::split_awaited(key) {
                for (position, message) in state::read_stretch(value)? {
                    let waiting = Waiting { message, stretch: Some(last) };
                    fold.awaited.insert(key::with_position(user, position), waiting);
                }
            }
        }
        fold.standing = fold.stored(&SAMPLE)?;
        Ok(fold)
    }

    fn stored<T: serde::de::DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, Error> {
        self.rows.get(key).map(|value| state::read(value)).transpose()
    }

    /// # Errors
    /// [`Error::Corrupt`].
    pub fn take(&mut self, recorded: &Recorded) -> Result<(), Error> {
        self.recorded_at = Some(recorded.recorded_at);
        let id = &recorded.stream.aggregate_id;
        match &recorded.event {
            Event::Conversation(ConversationEvent::MessageSent(sent)) => self.sent(recorded, sent),
            Event::Conversation(ConversationEvent::MemberJoined(joined)) => {
                let member = joined.member_id.as_str();
                let members = &mut self.talk(id)?.members;
                if !members.iter().any(|known| **known == *member) {
                    members.push(member.into());
                }
                Ok(())
            }
            Event::Inbox(InboxEvent::NotificationCreated(created)) => {
                if let Some(Waiting { message, .. }) =
                    self.awaited.get_mut(&key::awaited(id, created.message_position))
                    && !message.noted
                {
                    message.noted = true;
                    let awaited = message.clone();
                    self.delivery(&awaited, |figures| figures.count(Figure::Noted, 1));
                }
                Ok(())
            }
            Event::Inbox(InboxEvent::DeliveryAdvanced(advanced)) => {
                self.delivered(id, advanced, recorded.recorded_at);
                Ok(())
            }
            Event::Connections(ConnectionsEvent::ConnectionsSampled(sampled)) => {
                let (before, cells) = (self.standing.take(), &mut self.cells);
                let standing = Standing::next(before.as_ref(), sampled, |unit, start, figures| {
                    let cell = Cells { kind: Kind::Connections, unit, of: Of::All };
                    cells.entry(cell.key(start, "")).or_default().merge(&figures);
                });
                self.standing = Some(standing);
                Ok(())
            }
            Event::Conversation(
                ConversationEvent::ConversationStarted(_) | ConversationEvent::ConversationRead(_),
            )
            | Event::Inbox(InboxEvent::NotificationRead(_))
            | Event::Erasures(_)
            | Event::Audit(_) => Ok(()),
        }
    }

    fn talk(&mut self, id: &Arc<str>) -> Result<&mut Talk, Error> {
        if !self.talks.contains_key(id) {
            let talk = self.stored(&key::talk(id))?.unwrap_or_default();
            self.talks.insert(id.clone(), talk);
        }
        Ok(self.talks.get_mut(id).expect("it was put there"))
    }

    fn person(&mut self, id: &str) -> Result<&mut Person, Error> {
        if !self.persons.contains_key(id) {
            let person = self.stored(&key::person(id))?.unwrap_or_default();
            self.persons.insert(id.into(), person);
        }
        Ok(self.persons.get_mut(id).expect("it was put there"))
    }

    fn sent(&mut self, recorded: &Recorded, sent: &MessageSent) -> Result<(), Error> {
        if sent.imported.is_some() {
            // Said elsewhere, at a time whose figures are closed.
            return Ok(());
        }
        let (id, at) = (&recorded.stream.aggregate_id, recorded.recorded_at);
        let (sender, role) = (sent.sender_id.as_str(), Arc::<str>::from(&*sent.sender_role));
        self.scopes(Kind::Messages, at, id, &role, |figures| figures.count(Figure::Messages, 1));
        self.see(id, sender, &role, at)?;
        let talk = self.talk(id)?;
        let asked = match SenderKind::of_role(&role) {
            SenderKind::User if talk.question.is_none() => {
                talk.question = Some(Question { at_ms: at.0, role: role.clone() });
                Some(false)
            }
            SenderKind::Agent => talk.question.as_ref().map(|_| true),
            SenderKind::User | SenderKind::System => None,
        };
        let recipients: Vec<_> =
            talk.members.iter().filter(|member| ***member != *sender).cloned().collect();
        match asked {
            Some(false) => self.scopes(Kind::Responses, at, id, &role, |figures| {
                figures.count(Figure::Questions, 1);
            }),
            Some(true) => self.answered(id, at)?,
            None => {}
        }
        if recipients.is_empty() {
            return Ok(());
        }
        let awaited = Awaited { sent_at_ms: at.0, conversation_id: id.clone(), role, noted: false };
        let count = recipients.len() as u64;
        self.delivery(&awaited, |figures| figures.count(Figure::Recipients, count));
        self.awaited_added += recipients.len();
        for recipient in recipients {
            let waiting = Waiting { message: awaited.clone(), stretch: None };
            self.awaited.insert(key::awaited(&recipient, recorded.position), waiting);
        }
        Ok(())
    }

    /// Counts a sender where they are new.
    fn see(
        &mut self,
        id: &Arc<str>,
        sender: &str,
        role: &Arc<str>,
        at: Timestamp,
    ) -> Result<(), Error> {
        for unit in Unit::ALL {
            let mut news = vec![];
            match self.person(sender)?.active.see(unit, at, role.clone()) {
                News::First => news.extend([(Of::All, ""), (Of::Role, role)]),
                News::Another => news.push((Of::Role, role)),
                News::No => {}
            }
            let talk = self.talk(id)?;
            let place = talk.members.iter().position(|member| **member == *sender);
            if place.is_some_and(|place| talk.active.see(unit, at, place) != News::No) {
                news.push((Of::Conversation, id));
            }
            for (of, name) in news {
                let cell = Cells { kind: Kind::Messages, unit, of }.key(unit.start(at), name);
                self.cells.entry(cell).or_default().count(Figure::Users, 1);
            }
        }
        Ok(())
    }

    fn answered(&mut self, id: &Arc<str>, at: Timestamp) -> Result<(), Error> {
        if let Some(question) = self.talk(id)?.question.take() {
            let waited = at.0.saturating_sub(question.at_ms).max(0) as u64;
            self.scopes(
                Kind::Responses,
                Timestamp(question.at_ms),
                id,
                &question.role,
                |figures| {
                    figures.take(waited);
                },
            );
        }
        Ok(())
    }

    fn delivered(&mut self, user: &str, advanced: &DeliveryAdvanced, at: Timestamp) {
        let arrived: Vec<_> = self
            .awaited
            .range(key::awaited(user, 0)..key::awaited(user, advanced.through.saturating_add(1)))
            .map(|(key, _)| key.clone())
            .collect();
        let outcome = match advanced.outcome {
            DeliveryOutcome::Acknowledged => Figure::Acknowledged,
            DeliveryOutcome::Presumed => Figure::Presumed,
        };
        for key in arrived {
            let Some(Waiting { message: awaited, .. }) = self.awaited.remove(&key) else {
                continue;
            };
            let took = at.0.saturating_sub(awaited.sent_at_ms).max(0) as u64;
            self.delivery(&awaited, |figures| {
                figures.count(outcome, 1);
                figures.count(Figure::NotedDelivered, u64::from(awaited.noted));
                figures.take(took);
            });
        }
    }

    fn delivery(&mut self, awaited: &Awaited, count: impl Fn(&mut Figures)) {
        let Awaited { sent_at_ms, conversation_id, role, .. } = awaited;
        self.scopes(Kind::Deliveries, Timestamp(*sent_at_ms), conversation_id, role, count);
    }

    /// Counts something of a message, in all cells that it belongs to.
    fn scopes(
        &mut self,
        kind: Kind,
        at: Timestamp,
        conversation_id: &Arc<str>,
        role: &Arc<str>,
        count: impl Fn(&mut Figures),
    ) {
        let (conversation_id, role) = (conversation_id.clone(), role.clone());
        let part = Part { kind, hour: Unit::Hour.start(at), conversation_id, role };
        count(self.parts.entry(part).or_default());
    }

    /// How many rows are to be stored, at most, but for those that were known before and are waited for.
    pub fn rows(&self) -> usize {
        self.cells.len()
            + self.parts.len() * CELLS_OF_A_PART
            + self.awaited_added
            + self.talks.len()
            + self.persons.len()
    }

    /// The cells that have changed.
    pub fn changed_cells(&mut self) -> Vec<Key> {
        for (part, figures) in self.parts.drain() {
            let Part { kind, hour, conversation_id, role } = part;
            for unit in Unit::ALL {
                let scopes =
                    [(Of::All, ""), (Of::Conversation, &*conversation_id), (Of::Role, &*role)];
                for (of, name) in scopes {
                    let cell = Cells { kind, unit, of }.key(unit.start(hour), name);
                    self.cells.entry(cell).or_default().merge(&figures);
                }
            }
        }
        self.cells.keys().cloned().collect()
    }

    /// What is to be stored, given what is stored of the [changed cells](Self::changed_cells).
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn finish(
        mut self,
        stored_cells: impl IntoIterator<Item = (Key, Value)>,
    ) -> Result<Vec<(Key, Option<Value>)>, Error> {
        for (key, value) in stored_cells {
            self.cells.entry(key).or_default().merge(&Figures::read(&value)?);
        }
        let mut rows: BTreeMap<Key, Option<Value>> = BTreeMap::new();
        for key in self.rows.keys().filter(|key| key::is_awaited(key)) {
            rows.insert(key.clone(), None);
        }
        let awaited = stretches(&self.awaited);
        let talks = self.talks.iter().map(|(id, talk)| (key::talk(id), state::write(talk)));
        let persons =
            self.persons.iter().map(|(id, person)| (key::person(id), state::write(person)));
        let standing =
            self.standing.iter().map(|standing| (SAMPLE.to_vec(), state::write(standing)));
        let recorded = self.recorded_at.iter().map(|at| (RECORDED.to_vec(), state::write(&at.0)));
        let cells = self.cells.iter().map(|(key, figures)| (key.clone(), figures.write()));
        let changed =
            awaited.chain(talks).chain(persons).chain(standing).chain(recorded).chain(cells);
        rows.extend(changed.map(|(key, value)| (key, Some(value))));
        // What is stored like that needs no writing.
        Ok(rows.into_iter().filter(|(key, value)| self.rows.get(key) != value.as_ref()).collect())
    }
}

/// The rows of what is waited for: each stretch as far as it is still waited for, and new ones.
fn stretches(awaited: &BTreeMap<Key, Waiting>) -> impl Iterator<Item = (Key, Value)> {
    let mut left = awaited.iter().filter_map(|(key, waiting)| {
        let (user, position) = key::split_awaited(key)?;
        Some((user, position, waiting))
    });
    let mut next = left.next();
    std::iter::from_fn(move || {
        let (user, _, Waiting { stretch, .. }) = next?;
        let (mut messages, mut last) = (Vec::new(), 0);
        while let Some((of, position, waiting)) = next
            && (of, waiting.stretch) == (user, *stretch)
            && (stretch.is_some() || messages.len() < STRETCH)
        {
            messages.push((position, &waiting.message));
            last = position;
            next = left.next();
        }
        Some((key::with_position(user, stretch.unwrap_or(last)), state::write_stretch(messages)))
    })
}
