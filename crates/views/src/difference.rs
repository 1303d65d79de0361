//! Where two sets of views differ that were made from the same events.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::mpsc;
use verbatim_protocol::Recorded;

use crate::Error;

/// What is shown of a value, in characters.
const MAX_SHOWN: usize = 200;

/// The tables that both adapters have, and the columns that name a row.
pub(crate) const TABLES: [(&str, &[&str]); 6] = [
    ("conversations", &["key"]),
    ("members", &["conversation", "user_id"]),
    ("messages", &["position"]),
    ("notifications", &["position"]),
    ("deliveries", &["user_id", "through"]),
    ("refreshes", &["position"]),
];

/// The views in use, held still at one position, and those that were made anew.
#[async_trait]
pub trait Comparison: Send {
    /// The position that the views in use are held at.
    fn checkpoint(&self) -> u64;

    /// Takes events into the new views, up to that position, as [`Rebuild::apply`] does.
    ///
    /// # Errors
    /// As there.
    ///
    /// [`Rebuild::apply`]: crate::Rebuild::apply
    async fn apply(&mut self, events: &[Arc<Recorded>]) -> Result<(), Error>;

    /// Tells of each row in which the two differ, as fast as it is heard, and lets go of the views in
    /// use. Call when both are at the same position.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    async fn differences(self: Box<Self>, tell: &mpsc::Sender<Difference>) -> Result<(), Error>;
}

/// A row in which two sets of views differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub table: String,
    /// The columns that name the row.
    pub row: String,
    /// What the views in use have in the columns that differ; `None` if they lack the row.
    pub live: Option<String>,
    /// What those made anew have.
    pub rebuilt: Option<String>,
}

/// Tells of a difference; an error once nobody listens any more.
pub(crate) async fn told(
    tell: &mpsc::Sender<Difference>,
    difference: Difference,
) -> Result<(), Error> {
    let sent = tell.send(difference).await;
    sent.map_err(|_| Error::Unavailable("nobody asks for differences any more".into()))
}

/// A column's value in both; `None` where there is no such row.
pub(crate) struct Column {
    pub name: String,
    pub live: Option<String>,
    pub rebuilt: Option<String>,
}

impl Difference {
    /// What is shown of values that are long is cut off.
    #[must_use]
    pub fn new(table: String, row: String, live: Option<&str>, rebuilt: Option<&str>) -> Self {
        Self { table, row, live: live.map(short), rebuilt: rebuilt.map(short) }
    }

    /// Of a row's columns, those that name it first.
    pub(crate) fn of(table: &str, keys: &[&str], columns: &[Column]) -> Self {
        let is_key = |column: &&Column| keys.contains(&&*column.name);
        let written = |of: &dyn Fn(&Column) -> Option<String>, columns: &[&Column]| {
            let values: Option<Vec<_>> = columns
                .iter()
                .map(|column| Some(format!("{} = {}", column.name, short(&of(column)?))))
                .collect();
            values.map(|values| values.join(", "))
        };
        let keys: Vec<_> = columns.iter().filter(is_key).collect();
        let differ: Vec<_> = columns
            .iter()
            .filter(|column| !is_key(column) && column.live != column.rebuilt)
            .collect();
        let either = |column: &Column| column.live.clone().or_else(|| column.rebuilt.clone());
        Self {
            table: table.to_owned(),
            row: written(&either, &keys).unwrap_or_default(),
            live: written(&|column| column.live.clone(), &differ),
            rebuilt: written(&|column| column.rebuilt.clone(), &differ),
        }
    }
}

fn short(value: &str) -> String {
    match value.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value.to_owned(),
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, row, live, rebuilt } = self;
        match (live, rebuilt) {
            (Some(live), Some(rebuilt)) => {
                write!(f, "{table}, {row}: has {live}; rebuilt: {rebuilt}")
            }
            (Some(_), None) => write!(f, "{table}, {row}: is one too many"),
            (None, _) => write!(f, "{table}, {row}: is missing"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, live: Option<&str>, rebuilt: Option<&str>) -> Column {
        let owned = |value: Option<&str>| value.map(str::to_owned);
        Column { name: name.to_owned(), live: owned(live), rebuilt: owned(rebuilt) }
    }

    #[test]
    fn a_difference_names_the_row_and_only_what_differs() {
        let told = |live: Option<[&str; 2]>, rebuilt: Option<[&str; 2]>| {
            let columns = [
                column("position", live.map(|_| "7"), rebuilt.map(|_| "7")),
                column("same", live.map(|row| row[0]), rebuilt.map(|row| row[0])),
                column("content", live.map(|row| row[1]), rebuilt.map(|row| row[1])),
            ];
            Difference::of("messages", &["position"], &columns).to_string()
        };
        assert_eq!(
            told(Some(["x", "'a'"]), Some(["x", "'b'"])),
            "messages, position = 7: has content = 'a'; rebuilt: content = 'b'"
        );
        assert_eq!(told(Some(["x", "a"]), None), "messages, position = 7: is one too many");
        assert_eq!(told(None, Some(["x", "a"])), "messages, position = 7: is missing");
        let long = "🦀".repeat(300);
        let shown = told(Some(["x", &long]), Some(["x", "b"]));
        assert!(shown.contains(&format!("{}…;", "🦀".repeat(200))), "{shown}");
    }
}
