//! How rows are named, so that the order of their keys is that of lists.

use verbatim_protocol::Timestamp;

use crate::store::Key;

/// What a row is of.
const CELL: u8 = 1;
const TALK: u8 = 2;
const PERSON: u8 = 3;
const AWAITED: u8 = 4;

/// The last sample of connections.
pub const SAMPLE: [u8; 1] = [5];
/// When the last event was recorded.
pub const RECORDED: [u8; 1] = [6];

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    Messages = 1,
    Deliveries = 2,
    Responses = 3,
    Connections = 4,
}

const KINDS: [(Kind, &str); 4] = [
    (Kind::Messages, "messages"),
    (Kind::Deliveries, "deliveries"),
    (Kind::Responses, "responses"),
    (Kind::Connections, "connections"),
];

/// The size of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Unit {
    Hour = 1,
    /// Of UTC.
    Day = 2,
}

impl Unit {
    pub const ALL: [Self; 2] = [Self::Hour, Self::Day];

    /// In milliseconds.
    pub const fn length(self) -> i64 {
        match self {
            Self::Hour => 3_600_000,
            Self::Day => 86_400_000,
        }
    }

    /// When the bucket begins that a time is in.
    pub const fn start(self, at: Timestamp) -> Timestamp {
        Timestamp(at.0.div_euclid(self.length()).saturating_mul(self.length()))
    }
}

/// What the messages of a cell have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Of {
    All = 1,
    Conversation = 2,
    Role = 3,
}

/// Which cells a list is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cells {
    pub kind: Kind,
    pub unit: Unit,
    pub of: Of,
}

const CELLS: usize = 4;
const START: usize = 8;

impl Cells {
    fn prefix(self) -> [u8; CELLS] {
        [CELL, self.kind as u8, self.unit as u8, self.of as u8]
    }

    /// The key of a cell. The name is the conversation's or the role's.
    pub fn key(self, start: Timestamp, name: &str) -> Key {
        let mut key = Vec::with_capacity(CELLS + START + name.len());
        key.extend_from_slice(&self.prefix());
        key.extend_from_slice(&ordered(start));
        key.extend_from_slice(name.as_bytes());
        key
    }

    /// What lies above every cell of a bucket.
    pub fn after(self, start: Timestamp) -> Key {
        let Some(next) = start.0.checked_add(1) else {
            let [cell, kind, unit, of] = self.prefix();
            return vec![cell, kind, unit, of + 1];
        };
        self.key(Timestamp(next), "")
    }

    /// The bucket and the name of a cell, if it is one of these.
    pub fn read(self, key: &[u8]) -> Option<(Timestamp, &str)> {
        let (start, name) = key.strip_prefix(&self.prefix())?.split_first_chunk::<START>()?;
        let start = u64::from_be_bytes(*start) ^ SIGN;
        Some((Timestamp(start as i64), std::str::from_utf8(name).ok()?))
    }
}

const SIGN: u64 = 1 << 63;

/// Bytes that sort as the times do.
fn ordered(time: Timestamp) -> [u8; START] {
    (time.0 as u64 ^ SIGN).to_be_bytes()
}

pub fn talk(conversation_id: &str) -> Key {
    named(TALK, conversation_id)
}

pub fn person(user_id: &str) -> Key {
    named(PERSON, user_id)
}

/// A message that a user hasn't got yet, or the last one of a stretch of them. Ids hold no zero byte.
pub fn awaited(user_id: &str, position: u64) -> Key {
    let mut key = named(AWAITED, user_id);
    key.push(0);
    key.extend_from_slice(&position.to_be_bytes());
    key
}

/// What the keys of all messages that this one's user waits for begin with, and its position.
pub fn split_awaited(key: &[u8]) -> Option<(&[u8], u64)> {
    let (user, position) = key.split_last_chunk()?;
    is_awaited(key).then_some((user, u64::from_be_bytes(*position)))
}

/// The key of another message that the same user waits for.
pub fn with_position(user: &[u8], position: u64) -> Key {
    [user, &position.to_be_bytes()].concat()
}

pub fn is_awaited(key: &[u8]) -> bool {
    key.first() == Some(&AWAITED)
}

pub fn is_cell(key: &[u8]) -> bool {
    key.first() == Some(&CELL)
}

/// For people: of what kind a row is, and what names it.
pub fn describe(key: &[u8]) -> (&'static str, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match key {
        [CELL, kind, unit, of, rest @ ..] => {
            let named = KINDS.iter().find(|(known, _)| *known as u8 == *kind);
            let table = named.map_or("figures", |(_, name)| name);
            let unit = if *unit == Unit::Hour as u8 { "hour" } else { "day" };
            let Some((start, name)) = rest.split_first_chunk::<START>() else {
                return (table, text(rest));
            };
            let start = Timestamp((u64::from_be_bytes(*start) ^ SIGN) as i64);
            let mut row = format!("{unit} = {start}");
            for (known, column) in [(Of::Conversation, "conversation"), (Of::Role, "role")] {
                if *of == known as u8 {
                    row = format!("{row}, {column} = {}", text(name));
                }
            }
            (table, row)
        }
        [TALK, id @ ..] => ("conversations", format!("conversation = {}", text(id))),
        [PERSON, id @ ..] => ("users", format!("user = {}", text(id))),
        [AWAITED, rest @ ..] => {
            let row = match rest.split_last_chunk::<8>() {
                Some(([id @ .., 0], position)) => {
                    format!("user = {}, position = {}", text(id), u64::from_be_bytes(*position))
                }
                _ => text(rest),
            };
            ("awaited", row)
        }
        _ if *key == SAMPLE => ("connections", "the last sample".to_owned()),
        _ if *key == RECORDED => ("events", "the last one".to_owned()),
        _ => ("rows", text(key)),
    }
}

fn named(tag: u8, name: &str) -> Key {
    let mut key = Vec::with_capacity(name.len() + 10);
    key.push(tag);
    key.extend_from_slice(name.as_bytes());
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    const CELLS: Cells = Cells { kind: Kind::Messages, unit: Unit::Hour, of: Of::Conversation };

    #[test]
    fn keys_sort_by_time_and_then_by_name() {
        let keys =
            [(i64::MIN, "z"), (-1, "a"), (0, ""), (0, "a"), (0, "b"), (1, "a"), (i64::MAX, "")]
                .map(|(start, name)| CELLS.key(Timestamp(start), name));
        assert!(keys.is_sorted());
        for key in &keys {
            let (start, name) = CELLS.read(key).expect("one of these");
            assert_eq!(CELLS.key(start, name), *key);
            assert!(CELLS.after(start) > *key);
        }
        assert!(CELLS.after(Timestamp(0)) > CELLS.key(Timestamp(0), "\u{10ffff}"));
        assert!(CELLS.after(Timestamp(0)) <= CELLS.key(Timestamp(1), ""));
    }

    #[test]
    fn other_cells_are_none_of_these() {
        for other in [
            Cells { kind: Kind::Deliveries, ..CELLS },
            Cells { unit: Unit::Day, ..CELLS },
            Cells { of: Of::Role, ..CELLS },
        ] {
            let key = other.key(Timestamp(0), "a");
            assert_eq!(CELLS.read(&key), None);
            assert!(
                !(CELLS.key(Timestamp(i64::MIN), "")..CELLS.after(Timestamp(i64::MAX)))
                    .contains(&key)
            );
        }
        assert_eq!(CELLS.read(&[1]), None);
        assert_eq!(CELLS.read(&talk("a")), None);
    }

    #[test]
    fn what_a_user_waits_for_is_apart_from_what_others_wait_for() {
        let (low, high) = (awaited("ann", 0), awaited("ann", u64::MAX));
        assert!((low.clone()..=high.clone()).contains(&awaited("ann", 7)));
        for other in ["an", "anna", "ann-", "b"] {
            assert!(!(low.clone()..=high.clone()).contains(&awaited(other, 7)));
        }
        assert!(is_awaited(&low) && !is_awaited(&person("ann")));
    }

    #[test]
    fn a_bucket_begins_at_the_full_hour_or_at_midnight() {
        let at: Timestamp = "2024-01-01T10:59:59.999Z".parse().expect("a time");
        assert_eq!(Unit::Hour.start(at).to_string(), "2024-01-01T10:00:00.000Z");
        assert_eq!(Unit::Day.start(at).to_string(), "2024-01-01T00:00:00.000Z");
        assert_eq!(Unit::Day.start(Timestamp(-1)), Timestamp(-86_400_000));
    }
}
