//! Reading the log: which part of it, which events, and what stood when.
//!
//! Export, replay and audit go through here. Everything comes from [`Log`](verbatim_journal::Log),
//! page by page, each page a statement of its own, so no reader holds a transaction open, and memory
//! stays the same however long the log is. Events are chosen on the way out: no index serves only
//! readers, so they cost the writers nothing.
//!
//! Invariants kept here:
//! - what was erased is never shown, and nothing passes for erased that is only unreadable;
//! - a time is a position, because `recorded_at` never decreases;
//! - a range is settled when reading begins; what is appended later is not part of it.

pub mod as_of;
pub mod opened;
pub mod pages;
pub mod range;
pub mod selection;
#[cfg(test)]
mod testing;

pub use as_of::{ConversationAsOf, conversation_as_of};
pub use opened::OpenedLog;
pub use pages::{Pages, pages, pages_with};
pub use range::{BadRange, Bound, Range};
pub use selection::{EventType, Selection};
