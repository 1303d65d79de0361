//! What every read begins with, and what becomes of a view's errors.

use std::time::Duration;

use verbatim_keys::Content;
use verbatim_protocol::client::{DEFAULT_PAGE, MAX_PAGE};
use verbatim_protocol::{ErrorCode, Failure};
use verbatim_views::{self as views, PageRequest};

use super::Core;

/// How long a read waits for the views.
pub(super) const READ_WAIT: Duration = Duration::from_secs(2);

impl Core {
    /// Waits until the views show everything that was committed before this call, and returns the
    /// journal's last position as of it.
    pub(super) async fn caught_up(&self) -> Result<u64, Failure> {
        let head = self.ports.journal.head().await.map_err(|error| journal_failure(&error))?;
        self.reached(head).await?;
        Ok(head)
    }

    /// Opens what is sealed in these.
    pub(super) async fn open<'a, T: Content + 'a>(
        &self,
        contents: impl IntoIterator<Item = &'a mut T>,
    ) -> Result<(), Failure> {
        self.ports.keys.open_all(contents).await.map_err(|error| keys_failure(&error))
    }

    /// Waits until the views show `position`.
    pub(super) async fn reached(&self, position: u64) -> Result<(), Failure> {
        self.ports.views.reached(position, READ_WAIT).await.map_err(|error| views_failure(&error))
    }
}

pub(super) fn keys_failure(error: &verbatim_keys::Error) -> Failure {
    match error {
        verbatim_keys::Error::Unavailable(_) => {
            tracing::warn!(%error, "a read failed");
            Failure::unavailable("The key store is unavailable")
        }
        verbatim_keys::Error::OtherMaster | verbatim_keys::Error::Corrupt(_) => {
            tracing::error!(%error, "a read failed");
            Failure::internal()
        }
    }
}

pub(super) fn journal_failure(error: &verbatim_journal::Error) -> Failure {
    match error {
        verbatim_journal::Error::Unavailable(_) => {
            tracing::warn!(%error, "a read failed");
            Failure::unavailable("The message store is unavailable")
        }
        verbatim_journal::Error::Corrupt(_) => {
            tracing::error!(%error, "a read failed");
            Failure::internal()
        }
    }
}

pub(super) fn views_failure(error: &views::Error) -> Failure {
    match error {
        views::Error::Unavailable(_) => {
            tracing::warn!(%error, "a read failed");
            Failure::unavailable("The message store is unavailable")
        }
        views::Error::Behind => {
            tracing::warn!(%error, "a read failed");
            Failure::unavailable("The newest messages are not readable yet")
        }
        views::Error::BadCursor => {
            Failure::new(ErrorCode::BadRequest, "cursor must be a nextCursor of this list")
                .detail("field", "cursor")
        }
        views::Error::Corrupt(_) => {
            tracing::error!(%error, "a read failed");
            Failure::internal()
        }
    }
}

/// The page that was asked for. A list that was asked for without any bounds is given as long as it
/// may be, since the contract's first clients know no pages.
pub(super) fn page(cursor: Option<String>, limit: Option<u32>, bounded: bool) -> PageRequest {
    let bounded = bounded || cursor.is_some();
    let limit = limit.unwrap_or(if bounded { DEFAULT_PAGE } else { MAX_PAGE });
    PageRequest { cursor, limit }
}
