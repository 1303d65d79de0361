//! The cursors of lists: opaque to clients, good for one list of one journal.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use verbatim_protocol::{JournalId, Timestamp};

use crate::Error;
use crate::key::{Cells, Kind, Of, Unit};

/// Longer than any cell's key.
const MAX_TEXT: usize = 1_024;
const JOURNAL: usize = 8;
const TIME: usize = 8;

/// Where a list goes on, and where it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    pub cells: Cells,
    /// The last entry that was shown.
    pub start: Timestamp,
    pub name: String,
    /// The list ends with this bucket.
    pub last: Timestamp,
}

/// The last eight bytes of a journal's id: random in every version of UUID that is made here.
fn short(journal: JournalId) -> [u8; JOURNAL] {
    journal.0.as_u64_pair().1.to_be_bytes()
}

impl Cursor {
    pub fn write(&self, journal: JournalId) -> String {
        let key = self.cells.key(self.start, &self.name);
        let bytes = [&short(journal)[..], &self.last.0.to_be_bytes(), &key].concat();
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// # Errors
    /// [`Error::BadCursor`], also for another list's or another journal's.
    pub fn read(text: &str, journal: JournalId, kind: Kind) -> Result<Self, Error> {
        let bytes = Some(text)
            .filter(|text| text.len() <= MAX_TEXT)
            .and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
        let bytes = bytes.ok_or(Error::BadCursor)?;
        let rest = bytes.strip_prefix(&short(journal)[..]).ok_or(Error::BadCursor)?;
        let (last, key) = rest.split_first_chunk::<TIME>().ok_or(Error::BadCursor)?;
        let last = Timestamp(i64::from_be_bytes(*last));
        for unit in Unit::ALL {
            for of in [Of::All, Of::Conversation, Of::Role] {
                let cells = Cells { kind, unit, of };
                if let Some((start, name)) = cells.read(key) {
                    return Ok(Self { cells, start, name: name.to_owned(), last });
                }
            }
        }
        Err(Error::BadCursor)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const JOURNAL: JournalId = JournalId(Uuid::from_u128(7));

    #[test]
    fn cursors_come_back_as_they_went_and_are_good_for_one_list_of_one_journal() {
        let cells = Cells { kind: Kind::Deliveries, unit: Unit::Day, of: Of::Role };
        let cursor =
            Cursor { cells, start: Timestamp(5), name: "ä".to_owned(), last: Timestamp(i64::MAX) };
        let text = cursor.write(JOURNAL);
        assert_eq!(Cursor::read(&text, JOURNAL, Kind::Deliveries).expect("it is one"), cursor);
        let other = JournalId(Uuid::from_u128(8));
        assert!(matches!(Cursor::read(&text, other, Kind::Deliveries), Err(Error::BadCursor)));
        assert!(matches!(Cursor::read(&text, JOURNAL, Kind::Messages), Err(Error::BadCursor)));
        let (cut, unknown) =
            (&text[..12], URL_SAFE_NO_PAD.encode([&short(JOURNAL)[..], &[9; 40]].concat()));
        for bad in ["", "x", cut, &unknown, &"A".repeat(20_000), "not base64 *", "🦀"] {
            assert!(Cursor::read(bad, JOURNAL, Kind::Deliveries).is_err(), "{bad}");
        }
    }
}
