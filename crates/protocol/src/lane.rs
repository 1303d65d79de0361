//! Where a command stands in the queue of its lane, when the bus keeps queues that outlive a worker.

/// A place in a lane's queue. Orders what stands in one lane and one life of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneCursor {
    /// When the queue was made, in nanoseconds since the Unix epoch: its identity. A queue that was
    /// deleted and made anew counts anew.
    pub stream: i64,
    /// Its number in the queue, which all lanes share.
    pub sequence: u64,
    /// When the queue took what stands there, in nanoseconds since the Unix epoch: tells a queue that was
    /// set back and has grown again from one that was not.
    pub at: i64,
}

/// A command's lane, and its place in there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub lane: u16,
    /// How far the lane has come once this command and all before it are handled. Where several stand
    /// at one place of the queue, only the last of them brings it there: for the others it is the place
    /// before, if there was any.
    pub cursor: Option<LaneCursor>,
}
