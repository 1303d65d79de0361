//! Cursors: opaque to clients, and good for one journal only.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A journal's identity, made when the journal was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JournalId(pub Uuid);

impl fmt::Display for JournalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Not a cursor, or none of this journal's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadCursor {
    #[error("the cursor is malformed")]
    Malformed,
    #[error("the cursor belongs to another log")]
    OtherJournal,
}

/// A place in a journal: what lies at or below `position` has been applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamCursor {
    pub journal: JournalId,
    pub position: u64,
}

impl StreamCursor {
    /// Reads a cursor of `journal`, giving its position. Whether the journal has come that far is
    /// the caller's to check.
    ///
    /// # Errors
    /// [`BadCursor`].
    pub fn parse(text: &str, journal: JournalId) -> Result<u64, BadCursor> {
        let cursor: Self = text.parse()?;
        if cursor.journal == journal { Ok(cursor.position) } else { Err(BadCursor::OtherJournal) }
    }
}

impl fmt::Display for StreamCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0; 24];
        bytes[..16].copy_from_slice(self.journal.0.as_bytes());
        bytes[16..].copy_from_slice(&self.position.to_be_bytes());
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for StreamCursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Self, BadCursor> {
        let mut bytes = [0; 24];
        match URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
            Ok(24) => {}
            _ => return Err(BadCursor::Malformed),
        }
        let (journal, position) = bytes.split_at(16);
        Ok(Self {
            journal: JournalId(Uuid::from_slice(journal).map_err(|_| BadCursor::Malformed)?),
            position: u64::from_be_bytes(position.try_into().map_err(|_| BadCursor::Malformed)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_survive_the_way_out_and_back() {
        let journal = JournalId(Uuid::from_u128(7));
        let text = StreamCursor { journal, position: 42 }.to_string();
        assert_eq!(StreamCursor::parse(&text, journal), Ok(42));
        assert_eq!(
            StreamCursor::parse(&text, JournalId(Uuid::from_u128(8))),
            Err(BadCursor::OtherJournal)
        );
    }

    #[test]
    fn nonsense_is_no_cursor() {
        for bad in [
            "",
            "x",
            "🦀",
            "AAAA",
            &"A".repeat(33),
            &"A".repeat(20_000),
            "not base64 ******************** x",
        ] {
            assert_eq!(bad.parse::<StreamCursor>(), Err(BadCursor::Malformed), "{bad}");
        }
    }
}
