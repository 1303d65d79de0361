//! Where two sets of rows differ that were made from the same events.

use crate::figures::{self, Figures};
use crate::key;

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
}
