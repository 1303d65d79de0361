//! Whose content was erased: one stream for all, so that it is read at once.
//!
//! The content itself isn't touched: its keys are destroyed, by whoever keeps them.

use std::convert::Infallible;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::UserId;
use crate::id::KeyId;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum ErasureCommand {
    EraseSubject(EraseSubject),
}

/// Notes which keys are about to be destroyed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EraseSubject {
    pub subject_id: UserId,
    pub keys: Vec<KeyId>,
    /// The admin; nobody for the command line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erased_by: Option<UserId>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ErasureEvent {
    SubjectErased(SubjectErased),
}

/// What was sealed with these keys can't be read any more, by anybody.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SubjectErased {
    /// The user whose content it was.
    pub subject_id: UserId,
    pub keys: Vec<KeyId>,
    /// The admin; nobody for the command line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erased_by: Option<UserId>,
}

/// What a decision about it needs to know: nothing, as a key can be destroyed any number of times.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Erasures {}

impl Erasures {
    /// The events that a command brings about: always one.
    #[must_use]
    pub fn decide(&self, command: &ErasureCommand) -> Vec<ErasureEvent> {
        let ErasureCommand::EraseSubject(erase) = command;
        let EraseSubject { subject_id, keys, erased_by } = erase.clone();
        vec![ErasureEvent::SubjectErased(SubjectErased { subject_id, keys, erased_by })]
    }
}

impl Aggregate for Erasures {
    const TYPE: &'static str = "erasures";
    type Command = ErasureCommand;
    type Event = ErasureEvent;
    type Error = Infallible;
    type Services = ();

    async fn handle(
        &mut self,
        command: ErasureCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), Infallible> {
        for event in self.decide(&command) {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: ErasureEvent) {
        let ErasureEvent::SubjectErased(_) = event;
    }
}

#[cfg(test)]
mod tests {
    use cqrs_es::test::TestFramework;

    use super::*;

    #[test]
    fn an_erasure_is_recorded_each_time() {
        let subject_id: UserId = "ann".parse().expect("an id");
        let keys = vec![KeyId(uuid::Uuid::nil())];
        let erase =
            EraseSubject { subject_id: subject_id.clone(), keys: keys.clone(), erased_by: None };
        let erased =
            ErasureEvent::SubjectErased(SubjectErased { subject_id, keys, erased_by: None });
        TestFramework::<Erasures>::with(())
            .given(vec![erased.clone()])
            .when(ErasureCommand::EraseSubject(erase))
            .then_expect_events(vec![erased]);
    }
}
