//! What must be known of the past to fold the next event.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use verbatim_protocol::Timestamp;

use crate::Error;
use crate::key::Unit;
use crate::store::Value;

/// Who or what was active in the bucket that is open: events never go back in time, so the one before
/// is closed, and can be forgotten.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Active<T> {
    hour: Seen<T>,
    day: Seen<T>,
}

/// The beginning of a bucket, and what was seen in it. Times are stored as milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Seen<T>(i64, Vec<T>);

impl<T> Default for Seen<T> {
    fn default() -> Self {
        Self(i64::MIN, Vec::new())
    }
}

impl<T> Default for Active<T> {
    fn default() -> Self {
        Self { hour: Seen::default(), day: Seen::default() }
    }
}

/// Whether something is new to a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// And nothing was seen in it before.
    First,
    Another,
    No,
}

impl<T: PartialEq> Active<T> {
    pub fn see(&mut self, unit: Unit, at: Timestamp, what: T) -> News {
        let Seen(start, seen) = match unit {
            Unit::Hour => &mut self.hour,
            Unit::Day => &mut self.day,
        };
        let Timestamp(current) = unit.start(at);
        if *start != current {
            *start = current;
            seen.clear();
        }
        if seen.contains(&what) {
            return News::No;
        }
        seen.push(what);
        if seen.len() == 1 { News::First } else { News::Another }
    }
}

/// A conversation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Talk {
    pub members: Vec<Arc<str>>,
    /// Who has said something, by their place among the members.
    pub active: Active<usize>,
    pub question: Option<Question>,
}

/// What a user has said that no agent has answered yet: the first message of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Question {
    pub at_ms: i64,
    pub role: Arc<str>,
}

/// A user: the roles in which they have said something.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Person {
    pub active: Active<Arc<str>>,
}

/// A message that a recipient hasn't got yet.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Awaited {
    pub sent_at_ms: i64,
    pub conversation_id: Arc<str>,
    /// The sender's.
    pub role: Arc<str>,
    /// Whether the recipient was noted as offline.
    pub noted: bool,
}

/// How many messages that a user waits for are a row, at most.
pub const STRETCH: usize = 32;

/// Some that follow on each other of the messages that a user waits for, as they are stored.
#[derive(Serialize, Deserialize)]
struct Stretch {
    /// Conversations and senders' roles.
    of: Vec<(Arc<str>, Arc<str>)>,
    /// Of each message its position and time, as their distances from the one's before, which of those it
    /// is of, and whether it was noted.
    messages: Vec<(u64, i64, usize, bool)>,
}

/// Writes messages with their positions, which ascend.
pub fn write_stretch<'a>(messages: impl IntoIterator<Item = (u64, &'a Awaited)>) -> Value {
    let mut stretch = Stretch { of: Vec::new(), messages: Vec::new() };
    let (mut last, mut last_at) = (0, 0);
    for (position, awaited) in messages {
        let of = |(conversation, role): &(Arc<str>, Arc<str>)| {
            *conversation == awaited.conversation_id && *role == awaited.role
        };
        let of = stretch.of.iter().position(of).unwrap_or_else(|| {
            stretch.of.push((awaited.conversation_id.clone(), awaited.role.clone()));
            stretch.of.len() - 1
        });
        let after = awaited.sent_at_ms.wrapping_sub(last_at);
        stretch.messages.push((position - last, after, of, awaited.noted));
        (last, last_at) = (position, awaited.sent_at_ms);
    }
    write(&stretch)
}

/// Reads what [`write_stretch`] has written.
///
/// # Errors
/// [`Error::Corrupt`].
pub fn read_stretch(stored: &[u8]) -> Result<Vec<(u64, Awaited)>, Error> {
    let Stretch { of, messages } = read(stored)?;
    let (mut position, mut sent_at_ms) = (0_u64, 0_i64);
    let messages = messages.into_iter().map(|(distance, after, number, noted)| {
        position = position.checked_add(distance)?;
        sent_at_ms = sent_at_ms.wrapping_add(after);
        let (conversation_id, role) = of.get(number)?.clone();
        Some((position, Awaited { sent_at_ms, conversation_id, role, noted }))
    });
    let read: Option<_> = messages.collect();
    read.ok_or_else(|| Error::Corrupt("a stretch of messages that can't be".to_owned()))
}

pub fn read<T: DeserializeOwned>(stored: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(stored).map_err(|error| Error::Corrupt(error.to_string()))
}

pub fn write(state: &impl Serialize) -> Value {
    serde_json::to_vec(state).expect("it has text for keys, and no more")
}
