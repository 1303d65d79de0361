//! What may be said, by whom, and what is recorded of it.
//!
//! This is the innermost station on a message's way: the aggregate service hands a command to an
//! aggregate's state and gets back the events to append, or the rule that was broken. Nothing here
//! knows a clock, a random number, a database or a socket: ids come with the command, times with
//! the append, so the same history always gives the same decisions.
//!
//! Invariants kept here:
//! - an aggregate's state stays small however long its history (never its messages);
//! - a conversation's messages are numbered 1, 2, 3 … without gaps;
//! - an aggregate always hashes to the same [`lane`](stream::StreamId::lane).

pub mod audit;
pub mod connections;
pub mod conversation;
pub mod erasure;
pub mod event;
pub mod id;
pub mod inbox;
pub mod personal;
pub mod stream;
pub mod time;

pub use audit::{Audit, AuditCommand, AuditEvent};
pub use connections::{Connections, ConnectionsCommand, ConnectionsEvent};
pub use conversation::{Conversation, ConversationCommand, ConversationEvent};
pub use erasure::{ErasureCommand, ErasureEvent, Erasures};
pub use event::{Event, UnknownEvent};
pub use id::{
    ClientMessageId, ConversationId, InvalidId, KeyId, MessageId, NotificationId, UserId,
};
pub use inbox::{Inbox, InboxCommand, InboxEvent};
pub use personal::{Ciphertext, Personal, Sealed};
pub use stream::{AggregateType, LANES, StreamId};
pub use time::Time;
