//! Every event and command has its JSON Schema in `schemas/`, and it is what the type says.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use verbatim_domain::audit::{AuditAccessed, RecordAccess};
use verbatim_domain::connections::{ConnectionsSampled, SampleConnections};
use verbatim_domain::conversation::{
    ConversationRead, ConversationStarted, CreateGroup, MarkRead, MemberJoined, MessageSent,
    SendMessage,
};
use verbatim_domain::inbox::{
    AdvanceDelivery, DeliveryAdvanced, NotificationCreated, NotificationRead, Notify,
    ReadNotifications,
};
use verbatim_domain::{AuditCommand, ConnectionsCommand, ConversationCommand, Event, InboxCommand};

/// Commands have had one version so far.
const COMMAND_VERSION: &str = "1";

/// A schema of what is written: it says which fields are always there.
fn schema<T: JsonSchema>() -> Schema {
    SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<T>()
}

fn events() -> BTreeMap<String, Schema> {
    [
        ("ConversationStarted.v1", schema::<ConversationStarted>()),
        ("MemberJoined.v1", schema::<MemberJoined>()),
        ("MessageSent.v1", schema::<MessageSent>()),
        ("ConversationRead.v1", schema::<ConversationRead>()),
        ("NotificationCreated.v1", schema::<NotificationCreated>()),
        ("NotificationRead.v1", schema::<NotificationRead>()),
        ("DeliveryAdvanced.v1", schema::<DeliveryAdvanced>()),
        ("AuditAccessed.v1", schema::<AuditAccessed>()),
        ("ConnectionsSampled.v1", schema::<ConnectionsSampled>()),
    ]
    .map(|(name, schema)| (name.to_owned(), schema))
    .into()
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
        ("SampleConnections", schema::<SampleConnections>()),
    ]
    .map(|(name, schema)| (format!("{name}.v{COMMAND_VERSION}"), schema))
    .into()
}

/// Compares with the checked-in files; `UPDATE_SCHEMAS=1` writes them anew.
fn check(kind: &str, schemas: &BTreeMap<String, Schema>) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../schemas").join(kind);
    let update = std::env::var_os("UPDATE_SCHEMAS").is_some();
    for (name, schema) in schemas {
        let generated = format!("{:#}\n", schema.as_value());
        let path = folder.join(format!("{name}.json"));
        if update {
            std::fs::create_dir_all(&folder).expect("the folder is made");
            std::fs::write(&path, &generated).expect("the file is written");
        }
        let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            checked_in == generated,
            "schemas/{kind}/{name}.json differs from the type. A published version never changes: \
             an event that has to gets another version. If the type is right, run \
             `UPDATE_SCHEMAS=1 cargo test --workspace --test schemas` and commit what it writes."
        );
    }
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
        .collect();
    files.sort_unstable();
    let expected: Vec<_> = schemas.keys().map(|name| format!("{name}.json")).collect();
    assert_eq!(files, expected, "schemas/{kind} holds a schema for each, and nothing else");
}

#[test]
fn every_event_has_its_schema() {
    let schemas = events();
    for (name, version) in Event::TYPES {
        assert!(schemas.contains_key(&format!("{name}.v{version}")), "{name} {version} is missing");
    }
    check("events", &schemas);
}

#[test]
fn every_command_has_its_schema() {
    let schemas = commands();
    for variants in [
        schema::<ConversationCommand>(),
        schema::<InboxCommand>(),
        schema::<AuditCommand>(),
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
}
