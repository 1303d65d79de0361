//! Where two sets of rows differ that were made from the same events.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::take;

use crate::figures::{self, Figures};
use crate::key;
use crate::state::{self, Awaited};

/// A row in which two sets differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub table: &'static str,
    /// What names the row.
    pub row: String,
    /// What the one in use has: of figures those that differ. `None` if it lacks the row.
    pub live: Option<String>,
    /// What the one made anew has.
    pub rebuilt: Option<String>,
}

impl Difference {
    pub(crate) fn of(key: &[u8], live: Option<&[u8]>, rebuilt: Option<&[u8]>) -> Self {
        let (table, row) = key::describe(key);
        let read = |value: Option<&[u8]>| Figures::read(value?).ok();
        let (live, rebuilt) = match (key::is_cell(key), read(live), read(rebuilt)) {
            (true, Some(live), Some(rebuilt)) => {
                let [live, rebuilt] = figures::differing(&live, &rebuilt);
                (Some(live), Some(rebuilt))
            }
            _ => (live.map(text), rebuilt.map(text)),
        };
        Self { table, row, live, rebuilt }
    }
}

/// What users wait for: how it is cut into rows depends on how events were batched, so the messages in
/// them are compared.
#[derive(Debug, Default)]
pub(crate) struct Stretches {
    user: Vec<u8>,
    /// Messages of this user of which one set was heard, as they are in it.
    live: BTreeMap<u64, Awaited>,
    rebuilt: BTreeMap<u64, Awaited>,
}

impl Stretches {
    /// Takes in a row that differs, if it is one of these; rows come in the order of their keys. Gives the
    /// differences of the user before.
    pub fn take(
        &mut self,
        key: &[u8],
        live: Option<&[u8]>,
        rebuilt: Option<&[u8]>,
    ) -> Option<Vec<Difference>> {
        let (user, _) = key::split_awaited(key)?;
        let read = |value: Option<&[u8]>| value.map(state::read_stretch).transpose().ok();
        let (live, rebuilt) = (read(live)?, read(rebuilt)?);
        let before = if self.user == user { Vec::new() } else { self.end() };
        user.clone_into(&mut self.user);
        add(live.unwrap_or_default(), &mut self.live, &mut self.rebuilt);
        add(rebuilt.unwrap_or_default(), &mut self.rebuilt, &mut self.live);
        Some(before)
    }

    /// The differences of the last user.
    pub fn end(&mut self) -> Vec<Difference> {
        let (mut live, mut rebuilt) = (take(&mut self.live), take(&mut self.rebuilt));
        let positions: BTreeSet<_> = live.keys().chain(rebuilt.keys()).copied().collect();
        let difference = |position| {
            let text = |of: &mut BTreeMap<_, _>| {
                of.remove(&position).map(|awaited: Awaited| text(&state::write(&awaited)))
            };
            let (table, row) = key::describe(&key::with_position(&self.user, position));
            Difference { table, row, live: text(&mut live), rebuilt: text(&mut rebuilt) }
        };
        positions.into_iter().map(difference).collect()
    }
}

/// Adds messages of one set; what the other has alike differs no more.
fn add(
    messages: Vec<(u64, Awaited)>,
    to: &mut BTreeMap<u64, Awaited>,
    other: &mut BTreeMap<u64, Awaited>,
) {
    for (position, awaited) in messages {
        if other.get(&position) == Some(&awaited) {
            other.remove(&position);
        } else {
            to.insert(position, awaited);
        }
    }
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

#[cfg(test)]
mod tests {
    use verbatim_protocol::Timestamp;

    use super::*;
    use crate::figures::Figure;
    use crate::key::{Cells, Kind, Of, Unit};

    #[test]
    fn it_names_the_row_and_of_figures_only_those_that_differ() {
        let figures = |messages, ms| {
            let mut figures = Figures::default();
            figures.count(Figure::Users, 1);
            figures.count(Figure::Messages, messages);
            figures.take(ms);
            figures.write()
        };
        let cells = Cells { kind: Kind::Messages, unit: Unit::Hour, of: Of::Conversation };
        let key = cells.key(Timestamp(3_600_000), "talk");
        let of = |live: Option<Vec<u8>>, rebuilt: Option<Vec<u8>>| {
            Difference::of(&key, live.as_deref(), rebuilt.as_deref())
        };
        let found = of(Some(figures(2, 7)), Some(figures(3, 7)));
        let expected = Difference {
            table: "messages",
            row: "hour = 1970-01-01T01:00:00.000Z, conversation = talk".to_owned(),
            live: Some("Messages = 2".to_owned()),
            rebuilt: Some("Messages = 3".to_owned()),
        };
        assert_eq!(found, expected);
        let found = of(Some(figures(2, 7)), Some(figures(2, 100)));
        assert_eq!(
            found.live.as_deref(),
            Some("DurationsMs = 7, LongestMs = 7, of up to 7 ms = 1, of up to 101 ms = 0")
        );
        let found = of(None, Some(figures(2, 7)));
        assert_eq!((found.live, found.rebuilt.is_some()), (None, true));
        let found = of(Some(b"nonsense".to_vec()), Some(figures(2, 7)));
        assert_eq!(found.live.as_deref(), Some("nonsense"));
        let found = Difference::of(&key::awaited("ann", 7), Some(b"{}"), None);
        assert_eq!((found.table, &*found.row), ("awaited", "user = ann, position = 7"));
    }

    fn stretch(positions: &[u64]) -> Vec<u8> {
        let awaited = |position: u64| Awaited {
            sent_at_ms: 1_000 - position as i64,
            conversation_id: if position.is_multiple_of(2) { "even" } else { "odd" }.into(),
            role: "user".into(),
            noted: position == 4,
        };
        let messages: Vec<_> = positions.iter().map(|of| (*of, awaited(*of))).collect();
        let written = state::write_stretch(messages.iter().map(|(of, awaited)| (*of, awaited)));
        assert_eq!(state::read_stretch(&written).expect("as written"), messages);
        written
    }

    #[test]
    fn how_messages_are_cut_into_rows_is_no_difference() {
        let mut stretches = Stretches::default();
        let mut take = |user, last, live: Option<Vec<u8>>, rebuilt: Option<Vec<u8>>| {
            let key = key::awaited(user, last);
            stretches.take(&key, live.as_deref(), rebuilt.as_deref())
        };
        assert_eq!(take("ann", 3, None, Some(stretch(&[1, 3]))), Some(Vec::new()));
        assert_eq!(take("ann", 4, Some(stretch(&[1, 3, 4])), None), Some(Vec::new()));
        assert_eq!(take("ann", 9, Some(stretch(&[9])), Some(stretch(&[4, 9]))), Some(Vec::new()));
        // Of another user, and none that this one waits for.
        assert_eq!(take("bob", 3, Some(stretch(&[2])), Some(stretch(&[3]))), Some(Vec::new()));
        assert_eq!(take("bob", 4, Some(b"nonsense".to_vec()), None), None);
        let key = key::talk("c");
        assert_eq!(stretches.take(&key, Some(&stretch(&[1])), None), None);
        let told: Vec<_> = stretches
            .end()
            .into_iter()
            .map(|found| (found.row, found.live.is_some(), found.rebuilt.is_some()))
            .collect();
        let row = |position| format!("user = bob, position = {position}");
        assert_eq!(told, [(row(2), true, false), (row(3), false, true)]);
        assert_eq!(stretches.end(), []);
    }

    #[test]
    fn a_stretch_that_cannot_be_is_corrupt() {
        for bad in [
            "",
            "{}",
            r#"{"of":[],"messages":[[1,1,0,false]]}"#,
            r#"{"of":[["c","user"]],"messages":[[18446744073709551615,1,0,false],[1,1,0,false]]}"#,
        ] {
            assert!(state::read_stretch(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
