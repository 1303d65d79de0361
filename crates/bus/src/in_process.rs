//! The bus of a deployment in one process: bounded queues in memory.

mod lanes;

use std::sync::Arc;

use verbatim_protocol::{CommandEnvelope, Frame, Recorded};

use crate::fan_out::FanOut;
use crate::{Bus, CommandSource, PresenceMessage, ReplyFuture, Subscription};
use lanes::Lanes;

/// How much each queue holds before it drops or refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Commands that wait to be taken, over all lanes.
    pub commands: usize,
    /// Batches of events that wait for one subscriber.
    pub events: usize,
    /// Frames that wait for one subscriber.
    pub frames: usize,
    /// Announcements that wait for one subscriber. Generous: a thousand sockets come and go at once.
    pub presence: usize,
}

impl Default for Capacity {
    fn default() -> Self {
        Self { commands: 16_384, events: 256, frames: 1_024, presence: 65_536 }
    }
}

/// What slow subscribers have missed since the start, summed over them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Batches of events.
    pub events: u64,
    pub frames: u64,
    pub presence: u64,
}

/// The in-process [`Bus`]. One process owns all lanes, so they share one queue.
#[derive(Debug)]
pub struct InProcess {
    lanes: Arc<Lanes>,
    events: FanOut<Arc<[Arc<Recorded>]>>,
    frames: FanOut<Arc<Frame>>,
    presence: FanOut<PresenceMessage>,
}

impl InProcess {
    #[must_use]
    pub fn new(capacity: Capacity) -> Self {
        Self {
            lanes: Arc::new(Lanes::new(capacity.commands)),
            events: FanOut::new("events", capacity.events),
            frames: FanOut::new("frames", capacity.frames),
            presence: FanOut::new("presence", capacity.presence),
        }
    }

    /// Refuses commands from now on. What is queued can still be taken; once nobody is left to take
    /// it, it is answered as `unavailable`.
    pub fn close(&self) {
        self.lanes.close();
    }

    /// What slow subscribers have missed.
    pub fn dropped(&self) -> Dropped {
        Dropped {
            events: self.events.dropped(),
            frames: self.frames.dropped(),
            presence: self.presence.dropped(),
        }
    }
}

impl Default for InProcess {
    fn default() -> Self {
        Self::new(Capacity::default())
    }
}

impl Bus for InProcess {
    fn send(&self, command: CommandEnvelope) -> ReplyFuture {
        self.lanes.send(command)
    }

    fn commands(&self) -> Box<dyn CommandSource> {
        Box::new(Lanes::take_over(&self.lanes))
    }

    fn publish_events(&self, events: Arc<[Arc<Recorded>]>) {
        self.events.publish(&events);
    }

    fn subscribe_events(&self) -> Subscription<Arc<[Arc<Recorded>]>> {
        self.events.subscribe()
    }

    fn publish_frame(&self, frame: Arc<Frame>) {
        self.frames.publish(&frame);
    }

    fn subscribe_frames(&self) -> Subscription<Arc<Frame>> {
        self.frames.subscribe()
    }

    fn publish_presence(&self, message: PresenceMessage) {
        self.presence.publish(&message);
    }

    fn subscribe_presence(&self) -> Subscription<PresenceMessage> {
        self.presence.subscribe()
    }

    fn queued_commands(&self) -> usize {
        self.lanes.queued()
    }
}

#[cfg(test)]
mod tests;
