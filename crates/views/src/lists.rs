//! Pages of lists that are read from the newest entry on: where they begin, and where they are cut.

use verbatim_protocol::JournalId;

use crate::cursor::{self, List};
use crate::{Error, PageRequest};

/// Which list a page is of, and the position that its entries lie below.
pub(crate) struct Start {
    pub list: List,
    pub below: u64,
    /// How many entries the page holds at most.
    pub limit: u32,
}

impl Start {
    /// # Errors
    /// [`Error::BadCursor`].
    pub fn of_conversations(page: &PageRequest, journal: JournalId) -> Result<Self, Error> {
        Self::of(page, journal, List::Conversations, &[List::Conversations])
    }

    /// A cursor remembers which of the two lists it leads on in.
    ///
    /// # Errors
    /// [`Error::BadCursor`].
    pub fn of_notifications(
        page: &PageRequest,
        journal: JournalId,
        unread_only: bool,
    ) -> Result<Self, Error> {
        let first = if unread_only { List::UnreadNotifications } else { List::Notifications };
        Self::of(page, journal, first, &[List::Notifications, List::UnreadNotifications])
    }

    fn of(
        page: &PageRequest,
        journal: JournalId,
        first: List,
        good: &[List],
    ) -> Result<Self, Error> {
        let limit = crate::clamp(page.limit);
        let Some(text) = &page.cursor else {
            return Ok(Self { list: first, below: i64::MAX as u64, limit });
        };
        match cursor::decode(text, journal)? {
            (list, [below]) if good.contains(&list) => Ok(Self { list, below, limit }),
            _ => Err(Error::BadCursor),
        }
    }

    /// How many rows to ask for: one more than the page holds tells whether another follows.
    pub fn rows(&self) -> i64 {
        i64::from(self.limit) + 1
    }

    /// Cuts the rows to the page, and gives the cursor to the next one; `position` is a row's place in
    /// the list.
    pub fn cut<R>(
        &self,
        rows: &mut Vec<R>,
        journal: JournalId,
        position: impl Fn(&R) -> u64,
    ) -> Option<String> {
        let more = rows.len() > self.limit as usize;
        rows.truncate(self.limit as usize);
        let last = rows.last().filter(|_| more)?;
        Some(cursor::encode(self.list, journal, [position(last)]))
    }
}
