//! How a recorded event is written as JSON: on the feed, in exports, to auditors.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use verbatim_domain::{Event, StreamId};

use crate::{CommandKey, Original, Recorded, Timestamp};

/// Why an event can't be written or read. Where it says what was read, that is for the log.
pub type EnvelopeError = Box<dyn std::error::Error + Send + Sync>;

/// A recorded event, its payload and metadata embedded as they are. The same event always gives the
/// same bytes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Event", bound = "")]
pub struct Envelope<'a, P = &'a RawValue> {
    /// 1, 2, 3 … over the whole log.
    pub position: u64,
    #[serde(borrow)]
    pub aggregate_type: Cow<'a, str>,
    #[serde(borrow)]
    pub aggregate_id: Cow<'a, str>,
    /// 1, 2, 3 … within the aggregate.
    pub sequence: u64,
    pub recorded_at: Timestamp,
    /// Who gave the command; only on the last of its events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandKey>,
    /// About the command: its id, and the trace context where there is one.
    #[serde(borrow)]
    #[schemars(with = "Map<String, Value>")]
    pub metadata: &'a RawValue,
    #[serde(borrow)]
    pub event_type: Cow<'a, str>,
    #[serde(borrow)]
    pub event_version: Cow<'a, str>,
    /// As `eventType` and `eventVersion` say.
    #[schemars(with = "Map<String, Value>")]
    pub payload: P,
}

/// An event's payload, on its way out.
#[derive(Debug)]
pub enum Payload<'a> {
    Of(&'a Event),
    Stored(&'a RawValue),
}

impl Serialize for Payload<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Of(event) => event.serialize_payload(serializer),
            Self::Stored(payload) => payload.serialize(serializer),
        }
    }
}

impl<'a> Envelope<'a, Payload<'a>> {
    /// An event's envelope, to be written with the payload as it is stored.
    ///
    /// # Errors
    /// None that an event of a journal's can bring about.
    pub fn of(recorded: &'a Recorded) -> Result<Self, serde_json::Error> {
        let Recorded {
            position,
            stream,
            sequence,
            recorded_at,
            command,
            metadata,
            event,
            original,
        } = recorded;
        let payload = match original {
            Some(stored) => Payload::Stored(serde_json::from_str(&stored.payload)?),
            None => Payload::Of(event),
        };
        Ok(Self {
            position: *position,
            aggregate_type: stream.aggregate_type.as_str().into(),
            aggregate_id: (&*stream.aggregate_id).into(),
            sequence: *sequence,
            recorded_at: *recorded_at,
            command: command.clone(),
            metadata: serde_json::from_str(metadata)?,
            event_type: event.event_type().into(),
            event_version: recorded.event_version().into(),
            payload,
        })
    }

    /// Adds it to others, a line of JSON each.
    ///
    /// # Errors
    /// None that an event of a journal's can bring about.
    pub fn write_line(&self, lines: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        serde_json::to_writer(&mut *lines, self)?;
        lines.push(b'\n');
        Ok(())
    }
}

impl Envelope<'_> {
    /// Reads the event back.
    ///
    /// # Errors
    /// The type, its version or its payload is unknown.
    pub fn read(self) -> Result<Recorded, EnvelopeError> {
        let aggregate_type = self.aggregate_type.parse()?;
        let (version, payload) = (&*self.event_version, self.payload.get());
        let event = Event::decode(aggregate_type, &self.event_type, version, payload)?;
        Ok(Recorded {
            position: self.position,
            stream: StreamId { aggregate_type, aggregate_id: (&*self.aggregate_id).into() },
            sequence: self.sequence,
            recorded_at: self.recorded_at,
            command: self.command,
            metadata: self.metadata.get().into(),
            original: Original::of(&event, version, payload),
            event,
        })
    }
}
