//! What a bus answers itself.

use verbatim_protocol::Failure;

use crate::ReplyFuture;

/// When to try again after a refusal; the queue drains within it unless the journal stands still.
const RETRY_AFTER_MS: u64 = 1_000;

pub(crate) fn unavailable(message: &str) -> Failure {
    Failure::unavailable(message).retry_after(RETRY_AFTER_MS)
}

pub(crate) fn refused(message: &str) -> ReplyFuture {
    answered(unavailable(message))
}

pub(crate) fn answered(failure: Failure) -> ReplyFuture {
    Box::pin(std::future::ready(Err(failure)))
}
