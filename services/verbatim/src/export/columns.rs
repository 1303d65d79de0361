//! Events as rows of a table, for CSV and Parquet alike.

use verbatim_audit::selection::{actor, conversation};
use verbatim_domain::conversation::MessageSent;
use verbatim_domain::{ConversationEvent, Event};
use verbatim_protocol::{Recorded, Timestamp};

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Number,
    Time,
    Text,
}

#[derive(Debug, Clone, Copy)]
pub struct Column {
    pub name: &'static str,
    pub kind: Kind,
    /// Whether every event has it.
    pub required: bool,
}

const fn column(name: &'static str, kind: Kind, required: bool) -> Column {
    Column { name, kind, required }
}

/// The envelope's fields, and of the payload what questions are asked about most.
pub const COLUMNS: [Column; 18] = [
    column("position", Kind::Number, true),
    column("recorded_at", Kind::Time, true),
    // Earlier, where it was brought in from another system.
    column("happened_at", Kind::Time, true),
    column("aggregate_type", Kind::Text, true),
    column("aggregate_id", Kind::Text, true),
    column("sequence", Kind::Number, true),
    column("event_type", Kind::Text, true),
    column("event_version", Kind::Text, true),
    column("issuer", Kind::Text, false),
    column("key", Kind::Text, false),
    column("conversation_id", Kind::Text, false),
    column("actor_id", Kind::Text, false),
    column("message_id", Kind::Text, false),
    column("message_sequence", Kind::Number, false),
    column("sender_role", Kind::Text, false),
    column("content", Kind::Text, false),
    column("metadata", Kind::Text, true),
    column("payload", Kind::Text, true),
];

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value<'a> {
    Null,
    Number(u64),
    Time(Timestamp),
    Text(&'a str),
    Written(String),
}

/// An event's values, in the order of [`COLUMNS`].
///
/// # Errors
/// The payload can't be written.
pub fn row(recorded: &Recorded) -> Result<[Value<'_>; COLUMNS.len()], serde_json::Error> {
    let Recorded { position, stream, sequence, recorded_at, command, metadata, event, .. } =
        recorded;
    let message = message(event);
    Ok([
        Value::Number(*position),
        Value::Time(*recorded_at),
        Value::Time(recorded.happened_at()),
        Value::Text(stream.aggregate_type.as_str()),
        Value::Text(&stream.aggregate_id),
        Value::Number(*sequence),
        Value::Text(event.event_type()),
        Value::Text(recorded.event_version()),
        command.as_ref().map_or(Value::Null, |command| Value::Text(&command.issuer)),
        command.as_ref().map_or(Value::Null, |command| Value::Text(&command.key)),
        conversation(recorded).map_or(Value::Null, Value::Text),
        actor(recorded).map_or(Value::Null, Value::Text),
        message.map_or(Value::Null, |message| Value::Written(message.message_id.to_string())),
        message.map_or(Value::Null, |message| Value::Number(message.sequence)),
        message.map_or(Value::Null, |message| Value::Text(&message.sender_role)),
        message
            .and_then(|message| message.personal.plain())
            .map_or(Value::Null, |said| Value::Text(&said.content)),
        Value::Text(metadata),
        Value::Written(recorded.payload()?.into_owned()),
    ])
}

fn message(event: &Event) -> Option<&MessageSent> {
    match event {
        Event::Conversation(ConversationEvent::MessageSent(sent)) => Some(sent),
        _ => None,
    }
}
