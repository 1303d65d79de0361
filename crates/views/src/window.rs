//! Which sequences a page of messages holds. Sequences are dense, so a page is a range of them.

use verbatim_protocol::JournalId;

use crate::cursor::{self, List};
use crate::{Error, MessageRange};

/// Greater numbers fit no signed column; no sequence comes near.
const LARGEST: u64 = i64::MAX as u64;

/// A page of messages: those of `first` to `last`, both inclusive; none if `last` < `first`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Window {
    pub first: u64,
    pub last: u64,
    pub next_cursor: Option<String>,
}

/// Where a list of messages lies, and from which end it is read. Cursors hold one.
struct Bounds {
    list: List,
    /// Both exclusive.
    low: u64,
    high: u64,
}

impl Bounds {
    fn of(range: &MessageRange, journal: JournalId, key: u64) -> Result<Self, Error> {
        let Some(text) = &range.page.cursor else {
            let newer = range.after.is_some() && range.around.is_none();
            return Ok(Self {
                list: if newer { List::NewerMessages } else { List::OlderMessages },
                low: range.after.unwrap_or(0).min(LARGEST - 1),
                high: range.before.unwrap_or(LARGEST).min(LARGEST),
            });
        };
        match cursor::decode(text, journal)? {
            (list @ (List::OlderMessages | List::NewerMessages), [of, low, high]) if of == key => {
                Ok(Self { list, low: low.min(LARGEST - 1), high })
            }
            _ => Err(Error::BadCursor),
        }
    }
}

impl Window {
    /// The page that `range` asks for, in the conversation `key` whose newest message has the
    /// sequence `newest` (0 for none).
    ///
    /// # Errors
    /// [`Error::BadCursor`], also for another conversation's.
    pub fn of(
        range: &MessageRange,
        journal: JournalId,
        key: u64,
        newest: u64,
    ) -> Result<Self, Error> {
        let limit = u64::from(range.page.limit.max(1));
        let Bounds { list, low, high: asked } = Bounds::of(range, journal, key)?;
        let high = asked.min(newest + 1);
        let (mut first, mut last) = (low + 1, high.saturating_sub(1));
        match (list, range.around) {
            (_, Some(around)) if range.page.cursor.is_none() => {
                first = first.max(around.saturating_sub(limit / 2));
                last = last.min(around.saturating_add((limit - 1) / 2));
            }
            (List::NewerMessages, _) => last = last.min(low.saturating_add(limit)),
            _ => first = first.max(high.saturating_sub(limit)),
        }
        let rest = match list {
            // The upper bound stays as it was asked for: what is new by then belongs to the list.
            List::NewerMessages => (last + 1 < high).then_some([key, last, asked]),
            _ => Some([key, low, first.min(high)]).filter(|[_, low, high]| low + 1 < *high),
        };
        let next_cursor = rest.map(|numbers| cursor::encode(list, journal, numbers));
        Ok(Self { first, last, next_cursor })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::PageRequest;

    const JOURNAL: JournalId = JournalId(Uuid::from_u128(7));
    const KEY: u64 = 9;

    fn limit(limit: u32) -> MessageRange {
        MessageRange { page: PageRequest { cursor: None, limit }, ..MessageRange::default() }
    }

    /// Follows the cursors to the end; each page as its first and last sequence.
    fn pages(mut range: MessageRange, newest: u64) -> Vec<(u64, u64)> {
        let mut pages = Vec::new();
        loop {
            let window = Window::of(&range, JOURNAL, KEY, newest).expect("a window");
            pages.push((window.first, window.last));
            let Some(cursor) = window.next_cursor else { return pages };
            let page = PageRequest { cursor: Some(cursor), ..range.page };
            range = MessageRange { page, ..MessageRange::default() };
        }
    }

    #[test]
    fn without_bounds_pages_lead_from_the_newest_to_the_oldest() {
        assert_eq!(pages(limit(4), 10), [(7, 10), (3, 6), (1, 2)]);
        assert_eq!(pages(limit(5), 10), [(6, 10), (1, 5)]);
        assert_eq!(pages(limit(5), 0), [(1, 0)]);
    }

    #[test]
    fn before_is_exclusive_and_leads_to_older_ones() {
        assert_eq!(pages(MessageRange { before: Some(8), ..limit(4) }, 10), [(4, 7), (1, 3)]);
        assert_eq!(pages(MessageRange { before: Some(90), ..limit(10) }, 10), [(1, 10)]);
        for nothing in [0, 1] {
            let range = MessageRange { before: Some(nothing), ..limit(4) };
            let window = Window::of(&range, JOURNAL, KEY, 10).expect("a window");
            assert!(window.last < window.first && window.next_cursor.is_none());
        }
    }

    #[test]
    fn after_is_exclusive_and_leads_to_newer_ones() {
        assert_eq!(pages(MessageRange { after: Some(2), ..limit(4) }, 10), [(3, 6), (7, 10)]);
        for nothing in [10, 11, u64::MAX] {
            let range = MessageRange { after: Some(nothing), ..limit(4) };
            let window = Window::of(&range, JOURNAL, KEY, 10).expect("a window");
            assert!(window.last < window.first && window.next_cursor.is_none());
        }
    }

    #[test]
    fn a_page_between_two_bounds_starts_at_the_lower_and_keeps_to_the_upper() {
        let range = MessageRange { after: Some(2), before: Some(9), ..limit(4) };
        assert_eq!(pages(range, 10), [(3, 6), (7, 8)]);
        let none = MessageRange { after: Some(5), before: Some(6), ..limit(4) };
        assert_eq!(pages(none, 10), [(6, 5)]);
    }

    #[test]
    fn newer_messages_that_came_meanwhile_belong_to_the_list() {
        let range = MessageRange { after: Some(2), ..limit(4) };
        let first = Window::of(&range, JOURNAL, KEY, 10).expect("a window");
        let page = PageRequest { cursor: first.next_cursor, limit: 4 };
        let range = MessageRange { page, ..MessageRange::default() };
        let second = Window::of(&range, JOURNAL, KEY, 20).expect("a window");
        assert_eq!((second.first, second.last), (7, 10));
        assert!(second.next_cursor.is_some());
    }

    #[test]
    fn around_holds_half_on_each_side_and_leads_to_older_ones() {
        assert_eq!(pages(MessageRange { around: Some(6), ..limit(3) }, 10)[0], (5, 7));
        assert_eq!(pages(MessageRange { around: Some(6), ..limit(1) }, 10)[0], (6, 6));
        assert_eq!(pages(MessageRange { around: Some(9), ..limit(6) }, 10), [(6, 10), (1, 5)]);
        assert_eq!(pages(MessageRange { around: Some(1), ..limit(6) }, 10), [(1, 3)]);
        let beyond = pages(MessageRange { around: Some(99), ..limit(6) }, 10);
        assert!(beyond[0].1 < beyond[0].0, "nothing is there");
        assert_eq!(beyond[1..], [(5, 10), (1, 4)]);
        Window::of(&MessageRange { around: Some(u64::MAX), ..limit(6) }, JOURNAL, KEY, 10)
            .expect("a window");
    }

    #[test]
    fn another_conversations_or_lists_cursor_is_refused() {
        let other = cursor::encode(List::OlderMessages, JOURNAL, [KEY + 1, 0, 5]);
        let list = cursor::encode(List::Notifications, JOURNAL, [KEY, 0, 5]);
        for cursor in [other, list, String::new()] {
            let page = PageRequest { cursor: Some(cursor), limit: 5 };
            let range = MessageRange { page, ..MessageRange::default() };
            assert!(matches!(Window::of(&range, JOURNAL, KEY, 10), Err(Error::BadCursor)));
        }
    }
}
