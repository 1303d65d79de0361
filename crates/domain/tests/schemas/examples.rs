//! The golden examples: payloads as logs hold them, and what today's types make of them.

use std::fs;

use serde_json::{Value, json};
use verbatim_domain::{AggregateType, Event};

use crate::folder;
use crate::published::files;

/// Reads a payload of whichever aggregate has this type of event.
fn decode(event_type: &str, version: &str, payload: &str) -> Event {
    let types = [
        AggregateType::Conversation,
        AggregateType::Inbox,
        AggregateType::Audit,
        AggregateType::Erasures,
        AggregateType::Connections,
    ];
    let mut decoded =
        types.map(|kind| Event::decode(kind, event_type, version, payload)).into_iter();
    let found =
        decoded.find(|decoded| !matches!(decoded, Err(verbatim_domain::UnknownEvent::Type { .. })));
    let found = found.unwrap_or_else(|| panic!("nothing reads {event_type} version {version}"));
    found.unwrap_or_else(|error| panic!("{event_type} version {version}: {error:?}: {payload}"))
}

/// A snapshot that changes means that an old event is understood in another way than before: a bug,
/// unless the type has got a version more.
#[test]
fn every_example_of_every_version_is_read_as_ever() {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let folder = folder().join("examples");
    for name in files(&folder) {
        let (event_type, version) = name.split_once(".v").expect("a type and a version");
        for example in files(&folder.join(&name)) {
            let stored =
                fs::read_to_string(folder.join(&name).join(&example)).expect("it is there");
            let payload = stored.strip_suffix('\n').expect("a line");
            let event = decode(event_type, version, payload);
            let written = event.payload().expect("it can be written");
            if event.event_version() == version {
                assert_eq!(written, payload, "{name}/{example} is written again as it was");
            }
            let written: Value = serde_json::from_str(&written).expect("JSON");
            let read = json!({ "version": event.event_version(), "payload": written });
            let example = example.strip_suffix(".json").expect("JSON");
            settings.bind(|| insta::assert_json_snapshot!(format!("{name}.{example}"), read));
        }
    }
}
