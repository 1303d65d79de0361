//! What was found, where, in words.

use std::fmt;

use verbatim_journal::StoredEvent;

/// The first thing that isn't as it was sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where in the log, if it is a single place.
    pub position: Option<i64>,
    what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Finding {
    fn at(position: u64, what: &str) -> Self {
        Self { position: Some(position as i64), what: format!("position {position}: {what}") }
    }

    pub(super) fn changed(position: u64) -> Self {
        Self::at(position, "the event was changed: it is not the one that was sealed")
    }

    pub(super) fn unreadable(position: u64, why: impl fmt::Display) -> Self {
        Self::at(position, &format!("the event was changed: it can't be read any more: {why}"))
    }

    pub(super) fn out_of_sequence(position: u64, event: &StoredEvent, due: i64) -> Self {
        let StoredEvent { aggregate_type, aggregate_id, sequence, .. } = event;
        let what = format!(
            "the event was changed, or one of its stream before it was removed: it is number \
             {sequence} of {aggregate_type}/{aggregate_id}, where {due} is due"
        );
        Self::at(position, &what)
    }

    /// The positions from `first` to `last` are not there.
    pub(super) fn removed(first: u64, last: u64) -> Self {
        if first == last {
            return Self::at(first, "the event was removed");
        }
        Self {
            position: Some(first as i64),
            what: format!("positions {first} to {last}: the events were removed"),
        }
    }

    pub(super) fn moved_up(position: u64, events: u64) -> Self {
        let what = match events {
            1 => "the event was removed, and those after it moved up".to_owned(),
            n => format!("{n} events were removed, and those after them moved up"),
        };
        Self::at(position, &what)
    }

    pub(super) fn inserted(position: u64, events: u64) -> Self {
        let what = match events {
            1 => "an event was inserted, and those from there on moved down".to_owned(),
            n => format!("{n} events were inserted, and those from there on moved down"),
        };
        Self::at(position, &what)
    }

    pub(super) fn one_too_many(position: i64) -> Self {
        Self {
            position: Some(position),
            what: format!("position {position}: an event was inserted where none can be"),
        }
    }

    /// The log ends early.
    pub(super) fn cut_off(end: u64, due: u64, what: &str) -> Self {
        Self {
            position: Some(end as i64 + 1),
            what: format!(
                "position {}: the events from there on were removed: the log ends at {end}, and \
                 {due} {what}",
                end + 1
            ),
        }
    }

    /// Only a checkpoint tells.
    pub(super) fn between(fitted: u64, size: u64, what: &str) -> Self {
        Self {
            position: None,
            what: format!(
                "positions {} to {size}: something was changed, removed or inserted: the log is not \
                 the one that {what} of {size} events was signed for",
                fitted + 1
            ),
        }
    }

    /// Log and checkpoints may be sound; what the sealer keeps beside them is not.
    pub(super) fn seal(what: impl fmt::Display) -> Self {
        Self { position: None, what: format!("the seal's own tables: {what}") }
    }
}
