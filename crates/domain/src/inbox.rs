//! A user's inbox: their notifications, and how far the log has reached them.

mod command;
mod event;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

pub use command::{AdvanceDelivery, InboxCommand, Notify, ReadNotifications};
pub use event::{
    DeliveryAdvanced, DeliveryOutcome, InboxEvent, NotificationCreated, NotificationRead, ReadScope,
};

/// A rule of an inbox that a command would break.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("At least one notification id is needed")]
    NoIds,
}

/// What a decision about an inbox needs to know.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Inbox {
    /// The delivered mark: every message of the user's stream up to this position has arrived.
    delivered_through: u64,
    /// Whether a notification was made since all were last read.
    unread: bool,
}

impl Inbox {
    /// The events that a command brings about. No events: what it asks for is so already.
    ///
    /// # Errors
    /// The broken rule.
    pub fn decide(&self, command: &InboxCommand) -> Result<Vec<InboxEvent>, Error> {
        let event = match command {
            // What arrived meanwhile needs no notification.
            InboxCommand::Notify(notify) if notify.message_position <= self.delivered_through => {
                return Ok(Vec::new());
            }
            InboxCommand::Notify(notify) => InboxEvent::NotificationCreated(NotificationCreated {
                notification_id: notify.notification_id,
                conversation_id: notify.conversation_id.clone(),
                message_id: notify.message_id,
                message_position: notify.message_position,
                sender_id: notify.sender_id.clone(),
            }),
            InboxCommand::ReadNotifications(read) => match &read.scope {
                ReadScope::Ids(ids) if ids.is_empty() => return Err(Error::NoIds),
                _ if !self.unread => return Ok(Vec::new()),
                scope => InboxEvent::NotificationRead(NotificationRead { scope: scope.clone() }),
            },
            InboxCommand::AdvanceDelivery(advance) if advance.through <= self.delivered_through => {
                return Ok(Vec::new());
            }
            InboxCommand::AdvanceDelivery(advance) => {
                InboxEvent::DeliveryAdvanced(DeliveryAdvanced {
                    through: advance.through,
                    outcome: advance.outcome,
                })
            }
        };
        Ok(vec![event])
    }
}

impl Aggregate for Inbox {
    const TYPE: &'static str = "inbox";
    type Command = InboxCommand;
    type Event = InboxEvent;
    type Error = Error;
    type Services = ();

    async fn handle(
        &mut self,
        command: InboxCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), Error> {
        for event in self.decide(&command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: InboxEvent) {
        match event {
            InboxEvent::NotificationCreated(_) => self.unread = true,
            InboxEvent::NotificationRead(NotificationRead { scope: ReadScope::All }) => {
                self.unread = false;
            }
            InboxEvent::NotificationRead(_) => {}
            InboxEvent::DeliveryAdvanced(advanced) => self.delivered_through = advanced.through,
        }
    }
}

#[cfg(test)]
mod tests;
