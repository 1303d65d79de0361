use serde_json::json;
use uuid::Uuid;
use verbatim_domain::{
    AggregateType, ConversationEvent, Event, InboxEvent, StreamId,
    conversation::{MessageSent, PersonalMessage},
    inbox::{DeliveryAdvanced, DeliveryOutcome},
};
use verbatim_protocol::presence::Change;
use verbatim_protocol::{CommandKey, List, Timestamp};

use super::*;

const MESSAGE: &str = "01890000-0000-7000-8000-000000000001";

fn user(id: &str) -> UserId {
    id.parse().expect("a user id")
}

fn recorded(position: u64, command: Option<CommandKey>, event: impl Into<Event>) -> Arc<Recorded> {
    let event = event.into();
    let stream = StreamId { aggregate_type: event.aggregate_type(), aggregate_id: "a\"b".into() };
    Arc::new(Recorded {
        position,
        stream,
        sequence: position + 1,
        recorded_at: Timestamp(1_704_103_200_123),
        command,
        metadata: r#"{"commandId": "x"}"#.into(),
        event,
        original: None,
    })
}

fn sent(content: &str) -> ConversationEvent {
    ConversationEvent::MessageSent(MessageSent {
        message_id: MESSAGE.parse().expect("an id"),
        sequence: 1,
        sender_id: user("ann"),
        sender_role: "user".into(),
        client_message_id: None,
        personal: PersonalMessage { content: content.into(), attachments: Vec::new(), email: None }
            .into(),
        imported: None,
    })
}

fn comes_back<T: Wire + PartialEq + std::fmt::Debug>(message: &T) -> serde_json::Value {
    let written = message.encode().expect("it can be written");
    assert_eq!(&T::decode(&written).expect("it can be read"), message);
    serde_json::from_slice(&written).expect("it is JSON")
}

#[test]
fn events_come_back_as_they_went_and_hold_their_payload_as_json() {
    let key = CommandKey { issuer: "ann".into(), key: "1 \"🦀\"".into() };
    let advanced = DeliveryAdvanced { through: 9, outcome: DeliveryOutcome::Acknowledged };
    let events: Arc<[_]> = [
        recorded(1, None, sent("say \"hi\"\n\u{1f980}")),
        recorded(2, Some(key), InboxEvent::DeliveryAdvanced(advanced)),
    ]
    .into();
    let written = comes_back(&events);
    assert_eq!(written[0]["payload"]["messageId"], MESSAGE);
    assert_eq!(written[0]["metadata"], json!({"commandId": "x"}));
    assert_eq!(written[1]["aggregateType"], AggregateType::Inbox.as_str());
    assert!(comes_back(&Arc::<[Arc<Recorded>]>::from([])).is_array());
}

#[test]
fn frames_come_back_as_they_went_and_hold_their_messages_as_json() {
    let message: Arc<str> = r#"{"id": "msg_1",  "content": "\"\u00fc\""}"#.into();
    let pushes = vec![
        Push::Message(MessagePush {
            position: 3,
            message_id: MESSAGE.parse().expect("an id"),
            conversation_id: "conv_1".parse().expect("an id"),
            sender_id: user("ann"),
            recipients: [user("ann"), user("bo")].into(),
            message,
        }),
        Push::Refresh(Refresh { position: 4, list: List::Notifications, user_id: user("bo") }),
    ];
    let written = comes_back(&Arc::new(Frame { epoch: 2, from: 3, to: 4, pushes }));
    assert_eq!(written["pushes"][0]["message"]["message"]["content"], "\"ü\"");
}

#[test]
fn announcements_come_back_as_they_went() {
    let gateway = GatewayId(Uuid::from_u128(1));
    for change in [
        Change::Heartbeat,
        Change::Gone,
        Change::Snapshot { sockets: vec![(user("ann"), "s\"1".into())] },
    ] {
        let announcement = Announcement { gateway, number: 7, change };
        comes_back(&PresenceMessage::Announcement(Arc::new(announcement)));
    }
    comes_back(&PresenceMessage::SnapshotWanted(None));
    comes_back(&PresenceMessage::SnapshotWanted(Some(gateway)));
}

#[test]
fn what_cannot_be_read_is_named_by_place_and_not_by_content() {
    for junk in ["", "{", "[]x", "\"s3cret\"", "{\"s3cret\":1}", "[{\"position\":\"s3cret\"}]"] {
        for error in [
            <Arc<[Arc<Recorded>]>>::decode(junk.as_bytes()).err(),
            <Arc<Frame>>::decode(junk.as_bytes()).err(),
            PresenceMessage::decode(junk.as_bytes()).err(),
        ] {
            let error = error.expect("it is junk").to_string();
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
    assert!(PresenceMessage::decode(&[0xff, 0xfe]).is_err());
}

#[test]
fn an_event_of_another_version_is_an_error() {
    let events: Arc<[_]> = [recorded(1, None, sent("hi"))].into();
    let written = String::from_utf8(events.encode().expect("it can be written")).expect("text");
    let newer = written.replace(r#""eventVersion":"1""#, r#""eventVersion":"99""#);
    assert_ne!(newer, written);
    assert!(<Arc<[Arc<Recorded>]>>::decode(newer.as_bytes()).is_err());
}
