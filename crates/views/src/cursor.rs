//! The cursors of lists: opaque to clients, good for one list of one journal.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use verbatim_protocol::JournalId;

use crate::Error;

/// Which list a cursor leads on in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum List {
    Conversations = 1,
    OlderMessages = 2,
    NewerMessages = 3,
    Notifications = 4,
    UnreadNotifications = 5,
}

impl List {
    const ALL: [Self; 5] = [
        Self::Conversations,
        Self::OlderMessages,
        Self::NewerMessages,
        Self::Notifications,
        Self::UnreadNotifications,
    ];
}

/// The most bytes of a cursor: list, short journal id, three numbers.
const MAX_BYTES: usize = 1 + 8 + 3 * 8;

/// The last eight bytes of a journal's id: random in every version of UUID that is made here.
fn short(journal: JournalId) -> [u8; 8] {
    journal.0.as_u64_pair().1.to_be_bytes()
}

/// Writes a cursor that holds up to three numbers.
pub(crate) fn encode<const N: usize>(list: List, journal: JournalId, numbers: [u64; N]) -> String {
    const { assert!(1 + 8 + N * 8 <= MAX_BYTES) };
    let mut bytes = Vec::with_capacity(MAX_BYTES);
    bytes.push(list as u8);
    bytes.extend_from_slice(&short(journal));
    for number in numbers {
        bytes.extend_from_slice(&number.to_be_bytes());
    }
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads a cursor that holds `N` numbers, each small enough for a signed column.
///
/// # Errors
/// [`Error::BadCursor`], also for another journal's.
pub(crate) fn decode<const N: usize>(
    text: &str,
    journal: JournalId,
) -> Result<(List, [u64; N]), Error> {
    let mut buffer = [0; MAX_BYTES];
    let length = URL_SAFE_NO_PAD.decode_slice(text, &mut buffer).map_err(|_| Error::BadCursor)?;
    let (list, rest) = buffer[..length].split_first().ok_or(Error::BadCursor)?;
    let list = List::ALL.into_iter().find(|known| *known as u8 == *list).ok_or(Error::BadCursor)?;
    let rest = rest.strip_prefix(&short(journal)[..]).ok_or(Error::BadCursor)?;
    let (chunks, []) = rest.as_chunks::<8>() else { return Err(Error::BadCursor) };
    let chunks: &[[u8; 8]; N] = chunks.try_into().map_err(|_| Error::BadCursor)?;
    let numbers = chunks.map(u64::from_be_bytes);
    if numbers.iter().any(|number| i64::try_from(*number).is_err()) {
        return Err(Error::BadCursor);
    }
    Ok((list, numbers))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const JOURNAL: JournalId = JournalId(Uuid::from_u128(7));

    #[test]
    fn a_cursor_survives_the_way_out_and_back() {
        let text = encode(List::NewerMessages, JOURNAL, [1, 2, 3]);
        assert_eq!(decode(&text, JOURNAL).expect("a cursor"), (List::NewerMessages, [1, 2, 3]));
    }

    #[test]
    fn another_journals_cursor_is_refused() {
        let text = encode(List::Conversations, JournalId(Uuid::from_u128(8)), [1]);
        assert!(matches!(decode::<1>(&text, JOURNAL), Err(Error::BadCursor)));
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        let good = encode(List::Conversations, JOURNAL, [1]);
        let huge = encode(List::Conversations, JOURNAL, [u64::MAX]);
        let unknown = URL_SAFE_NO_PAD.encode([&[9][..], &short(JOURNAL), &[0; 8]].concat());
        let long = "A".repeat(20_000);
        let cut = &good[..good.len() - 4];
        let longer = format!("{good}AAAA");
        for bad in ["", "A", "🦀", "####", &long, cut, &longer, &huge, &unknown] {
            assert!(matches!(decode::<1>(bad, JOURNAL), Err(Error::BadCursor)), "{bad}");
        }
        assert!(matches!(decode::<2>(&good, JOURNAL), Err(Error::BadCursor)), "other numbers");
    }
}
