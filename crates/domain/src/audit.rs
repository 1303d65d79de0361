//! What auditors have looked at: one stream for each of them.

mod command;
mod event;

use std::convert::Infallible;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

pub use command::{AuditCommand, RecordAccess};
pub use event::{
    Accessed, AuditAccessed, AuditEvent, ConversationAccessed, EventsAccessed, SealAccessed,
};

/// What a decision about it needs to know: nothing, as everything that was looked at is recorded.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Audit {}

impl Audit {
    /// The events that a command brings about: always one.
    #[must_use]
    pub fn decide(&self, command: &AuditCommand) -> Vec<AuditEvent> {
        let AuditCommand::RecordAccess(record) = command;
        let RecordAccess { accessor_id, accessed } = record.clone();
        vec![AuditEvent::AuditAccessed(AuditAccessed { accessor_id, accessed })]
    }
}

impl Aggregate for Audit {
    const TYPE: &'static str = "audit";
    type Command = AuditCommand;
    type Event = AuditEvent;
    type Error = Infallible;
    type Services = ();

    async fn handle(
        &mut self,
        command: AuditCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), Infallible> {
        for event in self.decide(&command) {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: AuditEvent) {
        let AuditEvent::AuditAccessed(_) = event;
    }
}

#[cfg(test)]
mod tests {
    use cqrs_es::test::TestFramework;

    use super::*;

    fn record() -> RecordAccess {
        RecordAccess {
            accessor_id: "ann".parse().expect("an id"),
            accessed: Accessed::Conversation(ConversationAccessed {
                conversation_id: "conv_123".parse().expect("an id"),
                as_of: 7,
            }),
        }
    }

    #[test]
    fn whatever_is_looked_at_is_recorded_each_time() {
        let RecordAccess { accessor_id, accessed } = record();
        let accessed = AuditEvent::AuditAccessed(AuditAccessed { accessor_id, accessed });
        TestFramework::<Audit>::with(())
            .given(vec![accessed.clone()])
            .when(AuditCommand::RecordAccess(record()))
            .then_expect_events(vec![accessed]);
    }
}
