use serde_json::{Value, json};
use verbatim_protocol::ErrorCode;

use super::*;

fn send(payload: &Value) -> Result<MessageSend, Failure> {
    let send: MessageSend = parse(Some(&payload.to_string()))?;
    send.check(&Limits::default()).map(|()| send)
}

fn good() -> Value {
    json!({ "conversationId": "conv_1", "content": "Hello!" })
}

fn with(name: &str, value: Value) -> Value {
    let mut payload = good();
    payload[name] = value;
    payload
}

fn with_attachment(name: &str, value: Value) -> Value {
    let mut attachment = json!({ "name": "a.png", "url": "https://example.com/a.png" });
    attachment[name] = value;
    with("attachments", json!([{ "name": "b", "url": "http://b" }, attachment]))
}

/// The field that a refusal names.
fn refused<T>(outcome: Result<T, Failure>) -> String {
    let Err(failure) = outcome else { panic!("it was taken") };
    assert_eq!(failure.code, ErrorCode::BadRequest);
    let field = failure.details.get("field").and_then(Value::as_str).unwrap_or("-").to_owned();
    assert!(field == "-" || failure.message.starts_with(&field), "{}", failure.message);
    field
}

#[test]
fn a_good_message_is_taken_whatever_else_stands_in_it() {
    let payload = json!({
        "conversationId": "conv_1", "targetUserId": null, "content": "Grüße 🦀\n\ttab",
        "attachments": [{ "name": "ä.png", "url": "https://example.com/ä.png", "size": 0, "hash": 1 }],
        "clientMessageId": "any\ntext", "sender": "system", "senderId": "root", "nested": [[[{}]]],
    });
    let send = send(&payload).expect("it is good");
    assert_eq!(send.content, "Grüße 🦀\n\ttab");
    assert!(send.target_user_id.is_none());
}

#[test]
fn a_refusal_names_the_field() {
    for (payload, field) in [
        (json!({}), "conversationId"),
        (json!({ "conversationId": "conv_1" }), "content"),
        (with("content", json!(7)), "content"),
        (with("content", json!(null)), "content"),
        (with("content", json!("")), "content"),
        (with("content", json!("a\0b")), "content"),
        (with("content", json!("x".repeat(32_769))), "content"),
        (with("content", json!("é".repeat(16_385))), "content"),
        (with("conversationId", json!("")), "conversationId"),
        (with("conversationId", json!("a*")), "conversationId"),
        (with("conversationId", json!("a\nb")), "conversationId"),
        (with("conversationId", json!("x".repeat(129))), "conversationId"),
        (with("conversationId", json!({ "a": 1 })), "conversationId"),
        (with("targetUserId", json!("a b")), "targetUserId"),
        (with("targetUserId", json!(7)), "targetUserId"),
        (with("clientMessageId", json!("")), "clientMessageId"),
        (with("clientMessageId", json!("x".repeat(129))), "clientMessageId"),
        (with("clientMessageId", json!("a\0b")), "clientMessageId"),
        (with("attachments", json!({})), "attachments"),
        (with("attachments", json!("https://example.com")), "attachments"),
        (with("attachments", json!([7])), "attachments[0]"),
        (with("attachments", json!([{ "name": "a" }])), "attachments[0].url"),
        (
            with("attachments", json!(vec![json!({ "name": "a", "url": "http://a" }); 11])),
            "attachments",
        ),
        (with_attachment("name", json!("")), "attachments[1].name"),
        (with_attachment("name", json!("a\nb")), "attachments[1].name"),
        (with_attachment("name", json!("x".repeat(256))), "attachments[1].name"),
        (with_attachment("url", json!("javascript:alert(1)")), "attachments[1].url"),
        (with_attachment("url", json!("ftp://example.com/a")), "attachments[1].url"),
        (with_attachment("url", json!("https://")), "attachments[1].url"),
        (with_attachment("url", json!("https:///a")), "attachments[1].url"),
        (with_attachment("url", json!("https://@/")), "attachments[1].url"),
        (with_attachment("url", json!("https://ann@")), "attachments[1].url"),
        (with_attachment("url", json!("https://:80/a")), "attachments[1].url"),
        (with_attachment("url", json!("https://a@b@c")), "attachments[1].url"),
        (with_attachment("url", json!("https://a b")), "attachments[1].url"),
        (with_attachment("url", json!("https://a\u{0}")), "attachments[1].url"),
        (
            with_attachment("url", json!(format!("https://{}", "x".repeat(2_041)))),
            "attachments[1].url",
        ),
        (with_attachment("mimeType", json!("")), "attachments[1].mimeType"),
        (with_attachment("size", json!(-1)), "attachments[1].size"),
        (with_attachment("size", json!(1.5)), "attachments[1].size"),
        (with_attachment("size", json!(1_u64 << 53)), "attachments[1].size"),
    ] {
        assert_eq!(refused(send(&payload)), field, "{payload}");
    }
}

#[test]
fn bounds_are_inclusive() {
    for payload in [
        with("content", json!("x".repeat(32_768))),
        with("conversationId", json!("x".repeat(128))),
        with("clientMessageId", json!("é".repeat(128))),
        with("attachments", json!(vec![json!({ "name": "a", "url": "http://a" }); 10])),
        with_attachment("name", json!("é".repeat(255))),
        with_attachment("url", json!(format!("https://{}", "x".repeat(2_040)))),
        with_attachment("url", json!("HTTPS://Example.com/a")),
        with_attachment("url", json!("Http://ann:pass@[::1]:80?q=a@b#@")),
        with_attachment("size", json!((1_u64 << 53) - 1)),
    ] {
        assert!(send(&payload).is_ok());
    }
}

#[test]
fn a_refusal_never_repeats_what_was_sent() {
    for payload in [
        with("content", json!({ "secret": "swordfish" })),
        with("targetUserId", json!("sword fish swordfish")),
        with("attachments", json!("swordfish")),
        with("attachments", json!([{ "name": "a", "url": "swordfish" }])),
        with("conversationId", json!(["swordfish"])),
    ] {
        let failure = send(&payload).expect_err("it is refused");
        let text = serde_json::to_string(&failure).expect("JSON");
        assert!(!text.contains("swordfish"), "{text}");
    }
    let text = r#"{"conversationId": "conv_1", "content": swordfish}"#;
    let failure = parse::<MessageSend>(Some(text)).expect_err("it is refused");
    assert!(!failure.message.contains("swordfish"), "{}", failure.message);
    let text = r#"{"ids": ["swordfish"]}"#;
    let failure = parse::<NotificationRead>(Some(text)).expect_err("it is refused");
    assert!(!failure.message.contains("swordfish"), "{}", failure.message);
}

#[test]
fn a_wrong_type_is_told_in_a_developers_words() {
    let message = |payload: Value| send(&payload).expect_err("it is refused").message;
    assert_eq!(message(json!({})), "conversationId is missing");
    assert_eq!(message(with("content", json!(7))), "content must be a string");
    assert_eq!(message(with("attachments", json!(7))), "attachments must be an array");
    assert_eq!(message(with("targetUserId", json!(""))), "targetUserId must not be empty");
    assert_eq!(
        message(with_attachment("size", json!("7"))),
        "attachments[1].size must be a whole number, 0 or more"
    );
}

#[test]
fn a_payload_is_one_object() {
    for nothing in [None, Some("null"), Some(""), Some(" null ")] {
        assert!(parse::<ConversationGet>(nothing).is_ok(), "{nothing:?}");
    }
    let deep = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
    let deep_field = format!(r#"{{"conversationId":{deep},"content":"x"}}"#);
    for bad in [
        r#"["conv_1", "user_1", "Hello!"]"#,
        "7",
        r#""text""#,
        "{",
        r#"{"conversationId":"conv_1","content":"x"} {}"#,
        r#"{"conversationId":"conv_1","content":"\ud800"}"#,
        r#"{"conversationId":"conv_1","conversationId":"conv_2","content":"x"}"#,
        deep.as_str(),
        deep_field.as_str(),
    ] {
        let taken = parse::<MessageSend>(Some(bad));
        assert_eq!(taken.err().map(|failure| failure.code), Some(ErrorCode::BadRequest));
    }
}

#[test]
fn huge_json_that_nobody_asked_for_is_read_over() {
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    let text = format!(r#"{{"conversationId":"conv_1","content":"x","extra":{deep}}}"#);
    assert!(parse::<MessageSend>(Some(&text)).is_ok());
}

#[test]
fn limits_of_pages_are_1_to_200() {
    let get = |limit: Value| {
        let text = json!({ "limit": limit }).to_string();
        parse::<NotificationGet>(Some(&text)).and_then(|get| get.check())
    };
    assert!(get(json!(1)).is_ok() && get(json!(200)).is_ok() && get(json!(null)).is_ok());
    for bad in [json!(0), json!(201), json!(-1), json!(1.5), json!("50"), json!(true)] {
        assert_eq!(refused(get(bad)), "limit");
    }
}

#[test]
fn notifications_are_read_by_ids_or_all_of_them() {
    let id = "018c7f3e-0000-7000-8000-000000000000";
    let read = |payload: Value| {
        parse::<NotificationRead>(Some(&payload.to_string())).and_then(NotificationRead::check)
    };
    assert_eq!(read(json!({ "ids": [id] })).expect("good").map(|ids| ids.len()), Some(1));
    assert_eq!(read(json!({ "all": true })).expect("good"), None);
    for (bad, field) in [
        (json!({}), "ids"),
        (json!({ "ids": [] }), "ids"),
        (json!({ "ids": vec![id; 201] }), "ids"),
        (json!({ "ids": null, "all": true }), "ids"),
        (json!({ "ids": [id], "all": true }), "ids"),
        (json!({ "ids": ["no uuid"] }), "ids[0]"),
        (json!({ "ids": [7] }), "ids[0]"),
        (json!({ "ids": id }), "ids"),
        (json!({ "all": false }), "all"),
        (json!({ "all": "true" }), "all"),
    ] {
        assert_eq!(refused(read(bad.clone())), field, "{bad}");
    }
}

#[test]
fn groups_are_checked_before_they_are_asked_for() {
    let create = |payload: Value| {
        let create: ConversationCreate = parse(Some(&payload.to_string()))?;
        create.check()
    };
    let members = |n: usize| (0..n).map(|n| format!("u{n}")).collect::<Vec<_>>();
    assert!(create(json!({ "memberIds": members(1_001), "title": "é".repeat(200) })).is_ok());
    assert_eq!(refused(create(json!({ "memberIds": members(1_002) }))), "-");
    for (bad, field) in [
        (json!({}), "memberIds"),
        (json!({ "memberIds": "bob" }), "memberIds"),
        (json!({ "memberIds": ["bob", "a b"] }), "memberIds[1]"),
        (json!({ "memberIds": ["bob"], "title": "" }), "title"),
        (json!({ "memberIds": ["bob"], "title": "é".repeat(201) }), "title"),
        (json!({ "memberIds": ["bob"], "title": "a\u{85}b" }), "title"),
        (json!({ "memberIds": ["bob"], "title": "a\0b" }), "title"),
        (json!({ "memberIds": ["bob"], "conversationId": "a b" }), "conversationId"),
    ] {
        assert_eq!(refused(create(bad.clone())), field, "{bad}");
    }
}
