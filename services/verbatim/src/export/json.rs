//! JSON lines: the envelopes themselves, and `CloudEvents` 1.0.

use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use verbatim_protocol::{Envelope, Recorded, Timestamp};

use super::lines::Line;

pub struct Envelopes;

impl Line for Envelopes {
    fn write(&self, recorded: &Recorded, line: &mut Vec<u8>) -> io::Result<()> {
        Ok(Envelope::of(recorded)?.write_line(line)?)
    }
}

/// An event after the `CloudEvents` specification, 1.0.2, in its JSON format, with the extensions
/// sequence, partitioning and distributed tracing, and some of ours, all of one small word.
#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    /// The position: unique in its source.
    id: String,
    source: &'a str,
    #[serde(rename = "type")]
    kind: String,
    subject: String,
    time: Timestamp,
    datacontenttype: &'static str,
    /// Sorts as text does.
    sequence: String,
    partitionkey: &'a str,
    /// Within the stream, which `subject` names.
    streamsequence: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    commandid: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    commandissuer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    commandkey: Option<&'a str>,
    data: Box<RawValue>,
}

/// What an event's metadata holds.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    command_id: Option<Arc<str>>,
    traceparent: Option<Arc<str>>,
}

pub struct CloudEvents {
    /// Names the journal.
    source: String,
}

impl CloudEvents {
    pub fn new(journal: &str) -> Self {
        Self { source: format!("urn:uuid:{journal}") }
    }
}

impl Line for CloudEvents {
    fn write(&self, recorded: &Recorded, line: &mut Vec<u8>) -> io::Result<()> {
        let Recorded { position, stream, sequence, command, metadata, event, .. } = recorded;
        let Metadata { command_id, traceparent } = serde_json::from_str(metadata)?;
        let cloud_event = CloudEvent {
            specversion: "1.0",
            id: position.to_string(),
            source: &self.source,
            kind: format!("verbatim.{}.v{}", event.event_type(), recorded.event_version()),
            subject: stream.to_string(),
            time: recorded.happened_at(),
            datacontenttype: "application/json",
            sequence: format!("{position:020}"),
            partitionkey: &stream.aggregate_id,
            streamsequence: sequence.to_string(),
            traceparent,
            commandid: command_id,
            commandissuer: command.as_ref().map(|command| &*command.issuer),
            // An attribute's text is never empty.
            commandkey: command.as_ref().map(|command| &*command.key).filter(|key| !key.is_empty()),
            data: RawValue::from_string(recorded.payload()?.into_owned())?,
        };
        serde_json::to_writer(&mut *line, &cloud_event)?;
        line.push(b'\n');
        Ok(())
    }
}
