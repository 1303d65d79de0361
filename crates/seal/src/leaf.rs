//! The line that an event is sealed as.
//!
//! It is the event's envelope, as exports have it, with payload and metadata as they are stored, byte
//! for byte. Both must be JSON objects, so that no part of a row can pass for another.

use std::io::Write;

use serde::Serialize;
use serde::de::IgnoredAny;
use verbatim_journal::StoredEvent;
use verbatim_protocol::Timestamp;

/// Times that are each written in another way: from 1970 to the end of 9998, in milliseconds.
const TIMES: std::ops::Range<i64> = 0..253_370_764_800_000;

/// Why a row has no line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("its {0} is no JSON object")]
    NoObject(&'static str),
    #[error("its time is none")]
    NoTime,
    #[error("its command has an issuer or a key, not both")]
    HalfACommand,
}

#[derive(Serialize)]
struct Command<'e> {
    issuer: &'e str,
    key: &'e str,
}

/// Writes the line of an event at this position, with this sequence in its stream, after what is in
/// `out`; no line end.
///
/// # Errors
/// [`Unreadable`].
pub fn line(
    event: &StoredEvent,
    position: u64,
    sequence: i64,
    out: &mut Vec<u8>,
) -> Result<(), Unreadable> {
    if !TIMES.contains(&event.recorded_at) {
        return Err(Unreadable::NoTime);
    }
    let time = Timestamp(event.recorded_at);
    let command = match (&event.issuer, &event.key) {
        (Some(issuer), Some(key)) => Some(Command { issuer, key }),
        (None, None) => None,
        _ => return Err(Unreadable::HalfACommand),
    };
    write(out, format_args!("{{\"position\":{position},\"aggregateType\":"));
    json(out, &event.aggregate_type);
    write(out, format_args!(",\"aggregateId\":"));
    json(out, &event.aggregate_id);
    write(out, format_args!(",\"sequence\":{sequence},\"recordedAt\":\"{time}\""));
    if let Some(command) = command {
        write(out, format_args!(",\"command\":"));
        json(out, &command);
    }
    write(out, format_args!(",\"metadata\":{}", object("metadata", &event.metadata)?));
    write(out, format_args!(",\"eventType\":"));
    json(out, &event.event_type);
    write(out, format_args!(",\"eventVersion\":"));
    json(out, &event.event_version);
    write(out, format_args!(",\"payload\":{}}}", object("payload", &event.payload)?));
    Ok(())
}

fn write(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("memory takes what is written");
}

fn json(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    serde_json::to_writer(out, value).expect("text is JSON, and memory takes it");
}

fn object<'t>(what: &'static str, text: &'t str) -> Result<&'t str, Unreadable> {
    let is_object = text.trim_start_matches([' ', '\t', '\r', '\n']).starts_with('{')
        && serde_json::from_str::<IgnoredAny>(text).is_ok();
    if is_object { Ok(text) } else { Err(Unreadable::NoObject(what)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> StoredEvent {
        StoredEvent {
            aggregate_type: "conversation".to_owned(),
            aggregate_id: "conv_1".to_owned(),
            sequence: 4,
            event_type: "Unheard\"of".to_owned(),
            event_version: "17".to_owned(),
            payload: "{ \"b\":1,\n \"a\":1.0, \"a\":2}".to_owned(),
            metadata: "{}".to_owned(),
            recorded_at: 1_704_103_200_000,
            issuer: Some("user_1".to_owned()),
            key: Some("first\0🦀".to_owned()),
        }
    }

    fn written(event: &StoredEvent) -> Result<String, Unreadable> {
        let mut out = Vec::new();
        line(event, 7, event.sequence, &mut out)?;
        Ok(String::from_utf8(out).expect("text"))
    }

    #[test]
    fn a_line_has_what_is_stored_byte_for_byte_whatever_its_type() {
        let expected = r#"{"position":7,"aggregateType":"conversation","aggregateId":"conv_1","sequence":4,"recordedAt":"2024-01-01T10:00:00.000Z","command":{"issuer":"user_1","key":"first\u0000🦀"},"metadata":{},"eventType":"Unheard\"of","eventVersion":"17","payload":{ "b":1,
 "a":1.0, "a":2}}"#;
        assert_eq!(written(&event()), Ok(expected.to_owned()));
        let without = StoredEvent { issuer: None, key: None, ..event() };
        assert!(!written(&without).expect("a line").contains("command"));
    }

    #[test]
    fn every_column_shows_in_the_line() {
        let changes: [fn(&mut StoredEvent); 11] = [
            |event| event.aggregate_type.push('x'),
            |event| event.aggregate_id.push('x'),
            |event| event.sequence += 1,
            |event| event.event_type.push('x'),
            |event| event.event_version.push('x'),
            |event| event.payload.push(' '),
            |event| event.metadata.insert(0, ' '),
            |event| event.recorded_at += 1,
            |event| event.issuer = Some(String::new()),
            |event| event.key = Some(String::new()),
            |event| (event.issuer, event.key) = (None, None),
        ];
        let mut lines = vec![written(&event()).expect("a line")];
        for change in changes {
            let mut other = event();
            change(&mut other);
            lines.push(written(&other).expect("a line"));
        }
        let count = lines.len();
        lines.sort();
        lines.dedup();
        assert_eq!(lines.len(), count);
    }

    #[test]
    fn what_could_pass_for_something_else_has_no_line() {
        for bad in ["", " ", "[]", "1", "{", "{}{}", "{},\"x\":{}", "null", "{\"a\"}", "\u{a0}{}"] {
            let payload = StoredEvent { payload: bad.to_owned(), ..event() };
            assert_eq!(written(&payload), Err(Unreadable::NoObject("payload")), "{bad}");
            let metadata = StoredEvent { metadata: bad.to_owned(), ..event() };
            assert_eq!(written(&metadata), Err(Unreadable::NoObject("metadata")), "{bad}");
        }
        for recorded_at in [i64::MIN, -1, TIMES.end, i64::MAX] {
            let event = StoredEvent { recorded_at, ..event() };
            assert_eq!(written(&event), Err(Unreadable::NoTime));
        }
        let half = StoredEvent { key: None, ..event() };
        assert_eq!(written(&half), Err(Unreadable::HalfACommand));
    }
}
