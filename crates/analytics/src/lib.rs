//! What the log amounts to: messages, users, deliveries, answers and connections by hour and day.
//!
//! A projection like the read models, at a pace of its own: the projection service hands events to
//! [`Analytics`], which folds them, and gateways ask [`Reports`]. How figures are made and asked for is
//! written once, over a small port of ordered rows ([`Store`]) that each adapter keeps; what the figures
//! mean, to the word, stands in `docs/analytics.md`.
//!
//! Invariants kept here:
//! - figures and the checkpoint are stored in one transaction, so each event counts once;
//! - figures are a function of the log alone: of no clock, and not of how events were batched;
//! - rows name the journal and the version that they were made from and by, and start anew with another;
//! - what is kept grows with the hours and with what is active in them, and with the messages that have
//!   not been delivered yet; never with those that have been.

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod connections;
mod cursor;
mod difference;
mod figures;
mod fold;
mod key;
#[cfg(any(test, feature = "conformance"))]
mod memory;
mod postgres;
mod projector;
mod report;
mod sqlite;
mod state;
mod store;

pub use difference::Difference;
pub use figures::Durations;
#[cfg(any(test, feature = "conformance"))]
pub use memory::Memory;
pub use postgres::PostgresAnalytics;
pub use projector::{Analytics, Rebuild};
pub use report::{
    By, Connections, Deliveries, Messages, Report, Reports, Request, Responses, Row, UnknownBy,
    Users,
};
pub use sqlite::{SqliteAnalytics, SqliteReports};
pub use store::{At, Reading, Store};

/// Stands for what the rows are and mean. Raised with either; rows of an older version are made anew.
const VERSION: i64 = 2;

/// Why the analytics didn't answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the analytics are unavailable: {0}")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// They have not reached the position in time, or are another journal's.
    #[error("the analytics are behind the journal")]
    Behind,
    /// Another rebuild has taken the place of this one.
    #[error("another rebuild of the analytics has begun")]
    GivenUp,
    /// Not a cursor of this list.
    #[error("the cursor is not one of this list's")]
    BadCursor,
    /// Events that don't follow on the checkpoint, or a row that can't be.
    #[error("the analytics are corrupt: {0}")]
    Corrupt(String),
}

fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Unavailable(Box::new(error))
}
