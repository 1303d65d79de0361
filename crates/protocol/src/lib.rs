//! What travels: between clients and gateways ([`client`], [`error`], [`cursor`]), between the
//! services ([`command`], [`lane`], [`recorded`], [`envelope`], [`frame`], [`presence`]), and from
//! other systems ([`import`]).
//!
//! Everything here is data. The wire contract's shapes are defined once, in [`client`], and used by
//! Socket.IO and REST alike.

pub mod client;
pub mod command;
pub mod cursor;
pub mod envelope;
pub mod error;
pub mod frame;
pub mod import;
pub mod lane;
pub mod presence;
pub mod recorded;
pub mod timestamp;

pub use command::{Command, CommandEnvelope, Committed, Reply};
pub use cursor::{JournalId, StreamCursor};
pub use envelope::{Envelope, Payload};
pub use error::{ErrorCode, Failure};
pub use frame::{Erased, Frame, List, MessagePush, Push, Refresh};
pub use lane::{LaneCursor, Place};
pub use recorded::{CommandKey, Original, Recorded};
pub use timestamp::Timestamp;
