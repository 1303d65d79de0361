//! Every event and command has its JSON Schema in `schemas/`, and it is what the type says; and what
//! is published of the events stays, and can be read.

mod examples;
mod published;
mod refusals;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde_json::Value;
use verbatim_domain::audit::{AuditAccessed, RecordAccess};
use verbatim_domain::connections::{ConnectionsSampled, SampleConnections};
use verbatim_domain::conversation::{
    ConversationRead, ConversationStarted, CreateGroup, MarkRead, MemberJoined, MessageSent,
    SendMessage,
};
use verbatim_domain::erasure::{EraseSubject, SubjectErased};
use verbatim_domain::inbox::{
    AdvanceDelivery, DeliveryAdvanced, NotificationCreated, NotificationRead, Notify,
    ReadNotifications,
};
use verbatim_domain::{
    AuditCommand, ConnectionsCommand, ConversationCommand, ErasureCommand, Event, InboxCommand,
};

/// Commands have had one version so far.
const COMMAND_VERSION: &str = "1";

/// A schema of what is written: it says which fields are always there.
fn schema<T: JsonSchema>() -> Schema {
    SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<T>()
}

/// The folder `schemas/`.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas")
}

/// Today's types: each in the newest version of its event.
fn events() -> BTreeMap<String, Schema> {
    let schemas = BTreeMap::from([
        ("ConversationStarted", schema::<ConversationStarted>()),
        ("MemberJoined", schema::<MemberJoined>()),
        ("MessageSent", schema::<MessageSent>()),
        ("ConversationRead", schema::<ConversationRead>()),
        ("NotificationCreated", schema::<NotificationCreated>()),
        ("NotificationRead", schema::<NotificationRead>()),
        ("DeliveryAdvanced", schema::<DeliveryAdvanced>()),
        ("AuditAccessed", schema::<AuditAccessed>()),
        ("SubjectErased", schema::<SubjectErased>()),
        ("ConnectionsSampled", schema::<ConnectionsSampled>()),
    ]);
    assert!(schemas.keys().eq(Event::TYPES.iter().map(|(name, _)| name).collect::<BTreeSet<_>>()));
    Event::TYPES
        .iter()
        .map(|(name, versions)| {
            let newest = versions.last().expect("a version");
            (format!("{name}.v{newest}"), schemas[name].clone())
        })
        .collect()
}

fn commands() -> BTreeMap<String, Schema> {
    [
        ("CreateGroup", schema::<CreateGroup>()),
        ("SendMessage", schema::<SendMessage>()),
        ("MarkRead", schema::<MarkRead>()),
        ("Notify", schema::<Notify>()),
        ("ReadNotifications", schema::<ReadNotifications>()),
        ("AdvanceDelivery", schema::<AdvanceDelivery>()),
        ("RecordAccess", schema::<RecordAccess>()),
        ("EraseSubject", schema::<EraseSubject>()),
        ("SampleConnections", schema::<SampleConnections>()),
    ]
    .map(|(name, schema)| (format!("{name}.v{COMMAND_VERSION}"), schema))
    .into()
}

/// Compares with the checked-in files; `UPDATE_SCHEMAS=1` writes them anew. What is published keeps
/// its words when the type's comments get better ones.
fn check(kind: &str, schemas: &BTreeMap<String, Schema>) {
    let folder = folder().join(kind);
    let update = std::env::var_os("UPDATE_SCHEMAS").is_some();
    for (name, schema) in schemas {
        let generated = format!("{:#}\n", schema.as_value());
        let path = folder.join(format!("{name}.json"));
        if published::is_published(&format!("{kind}/{name}.json")) && says_the_same(&path, schema) {
            continue;
        }
        if update {
            std::fs::create_dir_all(&folder).expect("the folder is made");
            std::fs::write(&path, &generated).expect("the file is written");
        }
        let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            checked_in == generated,
            "schemas/{kind}/{name}.json differs from the type. A published version of an event never \
             changes: the event gets another version (schemas/README.md). Else, if the type is right, \
             run `UPDATE_SCHEMAS=1 cargo test --workspace --test schemas` and commit what it writes."
        );
    }
}

/// Whether a file has this schema, but for descriptions.
fn says_the_same(path: &Path, schema: &Schema) -> bool {
    let checked_in = std::fs::read(path).unwrap_or_default();
    let checked_in = serde_json::from_slice::<Value>(&checked_in);
    checked_in.is_ok_and(|checked_in| bare(&checked_in) == bare(schema.as_value()))
}

/// A schema without its descriptions. A property of this name has an object, not a text.
fn bare(schema: &Value) -> Value {
    match schema {
        Value::Object(fields) => {
            let said =
                |(name, value): &(&String, &Value)| *name != "description" || !value.is_string();
            fields.iter().filter(said).map(|(name, value)| (name.clone(), bare(value))).collect()
        }
        Value::Array(values) => values.iter().map(bare).collect(),
        other => other.clone(),
    }
}

#[test]
fn every_event_has_its_schema() {
    check("events", &events());
}

#[test]
fn what_is_published_of_the_events_stays_and_can_be_read() {
    let faults = published::faults(&folder(), &published::Code::of_today());
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn every_command_has_its_schema() {
    let schemas = commands();
    for variants in [
        schema::<ConversationCommand>(),
        schema::<InboxCommand>(),
        schema::<AuditCommand>(),
        schema::<ErasureCommand>(),
        schema::<ConnectionsCommand>(),
    ] {
        let variants = variants.get("oneOf").and_then(|one_of| one_of.as_array()).expect("an enum");
        for variant in variants {
            let name = variant["required"][0].as_str().expect("a variant's name");
            let name = format!("{name}.v{COMMAND_VERSION}");
            assert!(schemas.contains_key(&name), "{name} is missing");
        }
    }
    check("commands", &schemas);
    let expected: Vec<_> = schemas.keys().map(|name| format!("{name}.json")).collect();
    assert_eq!(published::files(&folder().join("commands")), expected, "and nothing else");
}
