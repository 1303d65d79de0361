//! How many were connected: one stream of samples for the whole deployment.

mod command;
mod event;

use std::convert::Infallible;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

pub use command::{ConnectionsCommand, SampleConnections};
pub use event::{ConnectionsEvent, ConnectionsSampled};

/// What a decision about it needs to know: the last sample.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Connections {
    last: Option<ConnectionsSampled>,
}

impl Connections {
    /// The events that a command brings about. None where nothing has changed since the last sample,
    /// nobody has been connected yet, or the sample is no later than the last.
    #[must_use]
    pub fn decide(&self, command: &ConnectionsCommand) -> Vec<ConnectionsEvent> {
        let ConnectionsCommand::SampleConnections(sample) = command;
        let last = self.last.as_ref();
        let known = last.map_or((0, 0, 0), |last| (last.sockets, last.users, last.peak_sockets));
        let unchanged = known == (sample.sockets, sample.users, sample.peak_sockets);
        if unchanged || last.is_some_and(|last| sample.at <= last.at) {
            return Vec::new();
        }
        vec![ConnectionsEvent::ConnectionsSampled(ConnectionsSampled {
            at: sample.at,
            seconds: sample.seconds,
            sockets: sample.sockets,
            users: sample.users,
            peak_sockets: sample.peak_sockets,
        })]
    }
}

impl Aggregate for Connections {
    const TYPE: &'static str = "connections";
    type Command = ConnectionsCommand;
    type Event = ConnectionsEvent;
    type Error = Infallible;
    type Services = ();

    async fn handle(
        &mut self,
        command: ConnectionsCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), Infallible> {
        for event in self.decide(&command) {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: ConnectionsEvent) {
        let ConnectionsEvent::ConnectionsSampled(sampled) = event;
        self.last = Some(sampled);
    }
}

#[cfg(test)]
mod tests {
    use cqrs_es::test::TestFramework;

    use super::*;

    fn sample(at: u64, sockets: u64) -> ConnectionsCommand {
        ConnectionsCommand::SampleConnections(SampleConnections {
            at,
            seconds: 60,
            sockets,
            users: sockets,
            peak_sockets: sockets,
        })
    }

    fn sampled(at: u64, sockets: u64) -> ConnectionsEvent {
        ConnectionsEvent::ConnectionsSampled(ConnectionsSampled {
            at,
            seconds: 60,
            sockets,
            users: sockets,
            peak_sockets: sockets,
        })
    }

    fn spec() -> TestFramework<Connections> {
        TestFramework::with(())
    }

    #[test]
    fn what_has_changed_is_recorded() {
        spec()
            .given_no_previous_events()
            .when(sample(60, 5))
            .then_expect_events(vec![sampled(60, 5)]);
        spec()
            .given(vec![sampled(60, 5)])
            .when(sample(120, 0))
            .then_expect_events(vec![sampled(120, 0)]);
    }

    #[test]
    fn what_has_not_changed_is_not_recorded() {
        spec().given_no_previous_events().when(sample(60, 0)).then_expect_events(Vec::new());
        spec().given(vec![sampled(60, 5)]).when(sample(120, 5)).then_expect_events(Vec::new());
    }

    #[test]
    fn there_is_one_sample_of_a_time_and_none_comes_late() {
        spec().given(vec![sampled(120, 5)]).when(sample(120, 6)).then_expect_events(Vec::new());
        spec().given(vec![sampled(120, 5)]).when(sample(60, 6)).then_expect_events(Vec::new());
    }
}
