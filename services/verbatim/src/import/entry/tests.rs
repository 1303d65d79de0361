use serde_json::{Value, json};

use super::*;

fn rules() -> Rules {
    Rules { limits: Limits::default(), latest: Time(2_000_000_000_000), unread: false }
}

fn conversation() -> Value {
    json!({
        "type": "conversation", "conversationId": "c", "conversationType": "direct",
        "memberIds": ["ann", "bob"], "createdBy": "ann", "createdAt": "2020-01-01T00:00:00Z",
    })
}

fn message() -> Value {
    json!({
        "type": "message", "id": "m1", "conversationId": "c", "senderId": "ann",
        "content": "Hello!", "createdAt": "2020-01-01T00:00:00Z",
    })
}

fn read(line: &Value) -> Result<Entry, String> {
    rules().read(&line.to_string())
}

/// What is said of a line in which a field is another; without it, if it is null.
fn refusal(mut line: Value, field: &str, value: Value) -> String {
    let fields = line.as_object_mut().expect("an object");
    if value.is_null() {
        fields.remove(field);
    } else {
        fields.insert(field.to_owned(), value);
    }
    read(&line).expect_err("it is refused")
}

#[test]
fn what_is_no_line_is_refused() {
    for (text, said) in [
        ("", "type is missing"),
        ("null", "type is missing"),
        ("[]", "must be a JSON object"),
        ("\"text\"", "must be a JSON object"),
        ("{", "not valid JSON"),
        ("{} {}", "type is missing"),
        (r#"{"type":"message"}{"type":"message"}"#, "nothing after it"),
        (r#"{"type":"user"}"#, "type must be `conversation` or `message`"),
        (r#"{"type":7}"#, "type must be a string"),
        (r#"{"type":"message","type":"message"}"#, "type is given twice"),
        ("\u{feff}{}", "must be a JSON object"),
    ] {
        let refused = rules().read(text).expect_err(text);
        assert!(refused.contains(said), "{text}: {refused}");
    }
}

#[test]
fn a_conversation_that_breaks_a_rule_is_refused() {
    let of = |field: &str, value| refusal(conversation(), field, value);
    assert_eq!(of("conversationId", Value::Null), "conversationId is missing");
    assert!(of("conversationId", json!("a b")).contains("conversationId may only hold"));
    assert!(of("conversationType", json!("channel")).contains("must be `direct` or `group`"));
    assert!(of("memberIds", json!("ann")).contains("memberIds must be an array"));
    assert!(of("memberIds", json!(["ann", ""])).contains("memberIds[1] must not be empty"));
    assert!(of("memberIds", json!(["ann", "ann"])).contains("two or more"));
    assert!(of("memberIds", json!(["ann", "bob", "cy"])).contains("two users"));
    assert!(of("createdBy", json!("cy")).contains("none of memberIds"));
    assert!(of("title", json!("")).contains("title must be 1 to 200"));
    assert!(of("title", json!("a\nb")).contains("title must be 1 to 200"));
    assert!(of("createdAt", json!("yesterday")).contains("createdAt must be a time"));
    assert!(of("createdAt", json!("2999-01-01T00:00:00Z")).contains("not in the future"));
    assert_eq!(of("name", json!("x")), "name is not known");
}

#[test]
fn a_message_that_breaks_a_rule_is_refused() {
    let of = |field: &str, value| refusal(message(), field, value);
    assert_eq!(of("id", Value::Null), "id is missing");
    assert!(of("id", json!("")).contains("id must be 1 to 128"));
    assert!(of("id", json!("a\0")).contains("id must be 1 to 128"));
    assert!(of("id", json!(7)).contains("id must be a string"));
    assert!(of("senderId", json!("{}")).contains("senderId may only hold"));
    assert!(of("role", json!("")).contains("role must be"));
    assert!(of("email", json!("a\rb")).contains("email must be"));
    assert_eq!(of("content", Value::Null), "content is missing");
    assert_eq!(of("content", json!("")), "content must not be empty");
    assert_eq!(of("content", json!("a\0b")), "content must not hold NUL");
    assert!(of("content", json!("x".repeat(32_769))).contains("longer than 32768 bytes"));
    assert!(of("createdAt", json!("1969-12-31T23:59:59Z")).contains("from 1970 on"));
    assert!(of("createdAt", json!(1_577_836_800)).contains("createdAt"));
    let file = |url: &str| json!([{ "name": "a", "url": url }]);
    for bad in ["ftp://a", "javascript:alert(1)", "https://", "https://a b", "/a"] {
        assert!(of("attachments", file(bad)).contains("attachments[0].url"), "{bad}");
    }
    let many = json!(vec![json!({ "name": "a", "url": "https://a" }); 11]);
    assert!(of("attachments", many).contains("more than 10"));
    let unknown = json!([{ "name": "a", "url": "https://a", "path": "b" }]);
    assert!(of("attachments", unknown).contains("path is not known"));
    assert_eq!(of("sequence", json!(1)), "sequence is not known");
}

#[test]
fn nothing_that_was_written_is_told() {
    let line = refusal(message(), "attachments", json!("a secret"));
    assert!(!line.contains("secret"), "{line}");
}

#[test]
fn a_line_becomes_what_it_says() {
    let Ok(Entry::Conversation(id, import)) = read(&conversation()) else {
        panic!("a conversation")
    };
    assert_eq!(
        (id.as_str(), import.members.len(), import.created_at),
        ("c", 2, Some(Time(1_577_836_800_000)))
    );
    let mut line = message();
    line["role"] = json!("agent");
    line["email"] = json!("a@example.com");
    line["attachments"] = json!([{ "name": "a", "url": "https://a", "size": 1 }]);
    let Ok(Entry::Message(_, import)) = read(&line) else { panic!("a message") };
    assert_eq!(import.sender_role, "agent");
    assert_eq!(
        import.personal.plain().expect("it is plain").email.as_deref(),
        Some("a@example.com")
    );
    assert_eq!(import.personal.plain().expect("it is plain").attachments[0].size, Some(1));
    assert_eq!(import.client_message_id.as_ref().map(AsRef::as_ref), Some("m1"));
    for absent in ["role", "email", "attachments"] {
        line[absent] = Value::Null;
    }
    let Ok(Entry::Message(_, import)) = read(&line) else { panic!("a message") };
    assert_eq!(
        (&*import.sender_role, import.personal.plain().expect("it is plain").attachments.len()),
        ("user", 0)
    );
}

#[test]
fn an_id_is_a_uuid_or_one_is_made_of_it_but_never_one_that_could_be_ours() {
    for kept in ["0b0e7c8e-5d1f-4b8e-9f54-2f1d6d3c1a77", "0B0E7C8E-5D1F-1B8E-9F54-2F1D6D3C1A77"] {
        let (id, text) = identify(kept);
        assert_eq!((id.to_string(), text), (kept.to_lowercase(), None));
    }
    for made in [
        "m1",
        "65b2f0c4e13a4d0012345678",
        "018d2f6e-8a00-7c3a-9d5e-0123456789ab",
        "0b0e7c8e5d1f4b8e9f542f1d6d3c1a77",
        "{0b0e7c8e-5d1f-4b8e-9f54-2f1d6d3c1a77}",
    ] {
        let (id, text) = identify(made);
        assert_eq!(text.as_ref().map(AsRef::as_ref), Some(made));
        assert_eq!(id.0.get_version_num(), 8);
        assert_eq!(identify(made).0, id, "always the same");
        assert_ne!(identify(&format!("{made}x")).0, id);
    }
}

#[test]
fn the_id_that_is_made_never_changes() {
    assert_eq!(identify("m1").0.to_string(), "a249a6f8-290e-86cc-aedb-a8556fff3d6e");
}
