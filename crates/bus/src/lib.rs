//! How the services reach each other: commands to the aggregate service, events to the projection
//! service, frames to the gateways, presence among all.
//!
//! Nothing here is a system of record. A lost command is retried by its client; a lost event, frame
//! or announcement is noticed by its number and made up for from journal, views or snapshot. So
//! every queue is bounded, and a full one drops (commands: refuses) rather than blocks.

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod fan_out;
pub mod in_process;
pub mod nats;
mod refusal;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::mpsc;
use verbatim_protocol::presence::{Announcement, GatewayId};
use verbatim_protocol::{CommandEnvelope, Frame, LaneCursor, Place, Recorded, Reply};

pub use in_process::InProcess;
pub use nats::{Nats, NatsOptions, NatsPublisher};

/// Resolves once the command is settled, or as `unavailable` when the deadline has passed, the
/// queue was full, or nobody handles commands.
pub type ReplyFuture = Pin<Box<dyn Future<Output = Reply> + Send>>;

/// A command with the way back to who gave it.
pub struct Request {
    pub command: CommandEnvelope,
    /// Where it stands in its lane's queue, on a bus whose queues outlive a worker.
    pub place: Option<Place>,
    /// Dropped without an answer, it reads as `unavailable`, unless its lane was left before: then it
    /// is for the lane's next owner to answer.
    pub reply: Box<dyn FnOnce(Reply) + Send>,
}

/// What comes out of a lane.
#[expect(clippy::large_enum_variant, reason = "nearly all are requests, and few at a time")]
pub enum Taken {
    Request(Request),
    /// What stands there is no command of this version's.
    Undecodable {
        place: Place,
        command: Vec<u8>,
        /// Why, without a word of what it holds.
        reason: String,
    },
}

impl Taken {
    /// The request, unless it could not be decoded.
    #[must_use]
    pub fn request(self) -> Option<Request> {
        match self {
            Self::Request(request) => Some(request),
            Self::Undecodable { .. } => None,
        }
    }
}

/// The aggregate service's end of the command lanes.
#[async_trait]
pub trait CommandSource: Send {
    /// Waits for commands, then gives all that are there, up to `max`, in the order in which they
    /// were given within each lane; and beyond `max` what stands at the same place as the last. `None`
    /// once the bus is closed. Safe to cancel.
    async fn next(&mut self, max: usize) -> Option<Vec<Taken>>;

    /// Takes a lane's commands from now on, those behind `after`. Where the queue is another than
    /// the one that `after` is of, or was set back behind it, all that it holds comes: some of it may
    /// have been handled before, which the commands' keys tell.
    ///
    /// A bus within one process has one worker, who has all lanes.
    fn follow(&mut self, _lane: u16, _after: Option<LaneCursor>) {}

    /// Takes no more of a lane's commands; what was not given out yet is dropped.
    fn leave(&mut self, _lane: u16) {}
}

/// What presence subscribers hear.
#[derive(Debug, Clone, PartialEq)]
pub enum PresenceMessage {
    Announcement(Arc<Announcement>),
    /// Somebody lacks this gateway's list (`None`: every gateway's): announce a snapshot.
    SnapshotWanted(Option<GatewayId>),
}

/// A bounded stream of messages from others. What finds it full is dropped, which its reader
/// notices by the messages' own numbers.
pub type Subscription<T> = mpsc::Receiver<T>;

/// The port of the bus.
pub trait Bus: Send + Sync + 'static {
    /// Hands a command to its lane. Order is that of the calls: the command is on its way when this
    /// returns, whether or not the future is polled.
    fn send(&self, command: CommandEnvelope) -> ReplyFuture;

    /// The receiving end of the lanes; a later call takes them over from an earlier one.
    fn commands(&self) -> Box<dyn CommandSource>;

    /// Announces committed events, contiguous and ascending. Hastens only.
    fn publish_events(&self, events: Arc<[Arc<Recorded>]>);

    fn subscribe_events(&self) -> Subscription<Arc<[Arc<Recorded>]>>;

    /// Gives every gateway a frame.
    fn publish_frame(&self, frame: Arc<Frame>);

    fn subscribe_frames(&self) -> Subscription<Arc<Frame>>;

    /// Tells everybody, the announcing process included.
    fn publish_presence(&self, message: PresenceMessage);

    fn subscribe_presence(&self) -> Subscription<PresenceMessage>;

    /// Commands that wait to be taken.
    fn queued_commands(&self) -> usize;
}
