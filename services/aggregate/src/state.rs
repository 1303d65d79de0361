//! Any aggregate's state, and what can be done with it.

use cqrs_es::Aggregate;
use verbatim_domain::{AggregateType, Audit, Connections, Conversation, Erasures, Event, Inbox};
use verbatim_protocol::{Command, Failure};

/// What a command brings about; a parameter of the service so that tests can make one panic.
pub(crate) type Decide = fn(&State, &Command) -> Result<Vec<Event>, Failure>;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum State {
    Conversation(Conversation),
    Inbox(Inbox),
    Audit(Audit),
    Erasures(Erasures),
    Connections(Connections),
}

/// An event of another kind of aggregate stands in the stream.
#[derive(Debug)]
pub(crate) struct Misplaced;

impl State {
    pub(crate) fn new(aggregate_type: AggregateType) -> Self {
        match aggregate_type {
            AggregateType::Conversation => Self::Conversation(Conversation::default()),
            AggregateType::Inbox => Self::Inbox(Inbox::default()),
            AggregateType::Audit => Self::Audit(Audit::default()),
            AggregateType::Erasures => Self::Erasures(Erasures::default()),
            AggregateType::Connections => Self::Connections(Connections::default()),
        }
    }

    /// The events that a command brings about, none if what it asks for is so already, or what the
    /// client hears of the broken rule.
    pub(crate) fn decide(&self, command: &Command) -> Result<Vec<Event>, Failure> {
        match (self, command) {
            (Self::Conversation(state), Command::Conversation { command, .. }) => {
                let events = state.decide(command)?;
                Ok(events.into_iter().map(Event::from).collect())
            }
            (Self::Inbox(state), Command::Inbox { command, .. }) => {
                let events = state.decide(command)?;
                Ok(events.into_iter().map(Event::from).collect())
            }
            (Self::Audit(state), Command::Audit { command, .. }) => {
                Ok(state.decide(command).into_iter().map(Event::from).collect())
            }
            (Self::Erasures(state), Command::Erasures { command }) => {
                Ok(state.decide(command).into_iter().map(Event::from).collect())
            }
            (Self::Connections(state), Command::Connections { command }) => {
                Ok(state.decide(command).into_iter().map(Event::from).collect())
            }
            // A command finds its state by its own stream, whose type is that of the command.
            _ => Err(Failure::internal()),
        }
    }

    /// How many a conversation has.
    pub(crate) fn member_count(&self) -> usize {
        match self {
            Self::Conversation(state) => state.member_count(),
            _ => 0,
        }
    }

    pub(crate) fn apply(&mut self, event: &Event) -> Result<(), Misplaced> {
        match (self, event) {
            (Self::Conversation(state), Event::Conversation(event)) => state.apply(event.clone()),
            (Self::Inbox(state), Event::Inbox(event)) => state.apply(event.clone()),
            (Self::Audit(state), Event::Audit(event)) => state.apply(event.clone()),
            (Self::Erasures(state), Event::Erasures(event)) => state.apply(event.clone()),
            (Self::Connections(state), Event::Connections(event)) => state.apply(event.clone()),
            _ => return Err(Misplaced),
        }
        Ok(())
    }

    pub(crate) fn to_json(&self) -> Result<String, serde_json::Error> {
        match self {
            Self::Conversation(state) => serde_json::to_string(state),
            Self::Inbox(state) => serde_json::to_string(state),
            Self::Audit(state) => serde_json::to_string(state),
            Self::Erasures(state) => serde_json::to_string(state),
            Self::Connections(state) => serde_json::to_string(state),
        }
    }

    pub(crate) fn from_json(
        aggregate_type: AggregateType,
        json: &str,
    ) -> Result<Self, serde_json::Error> {
        match aggregate_type {
            AggregateType::Conversation => serde_json::from_str(json).map(Self::Conversation),
            AggregateType::Inbox => serde_json::from_str(json).map(Self::Inbox),
            AggregateType::Audit => serde_json::from_str(json).map(Self::Audit),
            AggregateType::Erasures => serde_json::from_str(json).map(Self::Erasures),
            AggregateType::Connections => serde_json::from_str(json).map(Self::Connections),
        }
    }
}
