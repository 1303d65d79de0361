use cqrs_es::Aggregate;
use uuid::Uuid;

use super::*;
use crate::conversation::{Author, ConversationCommand, MarkRead, PersonalMessage, SendMessage};

fn user(id: &str) -> UserId {
    id.parse().expect("a user id")
}

fn conversation(kind: ConversationKind, members: &[&str]) -> ImportConversation {
    ImportConversation {
        kind,
        created_by: user("ann"),
        members: members.iter().map(|id| user(id)).collect(),
        personal: PersonalTitle { title: None },
        created_at: Some(Time(1)),
        unread: false,
    }
}

fn message(sender: &str, sent_at: i64) -> ImportMessage {
    ImportMessage {
        message_id: MessageId(Uuid::nil()),
        sender_id: user(sender),
        sender_role: "user".to_owned(),
        client_message_id: None,
        personal: PersonalMessage::text("Hello!").into(),
        sent_at: Time(sent_at),
    }
}

fn apply(conversation: &mut Conversation, events: impl IntoIterator<Item = ConversationEvent>) {
    for event in events {
        conversation.apply(event);
    }
}

/// Ann and Bob's, with some messages of another system.
fn imported(messages: i64, unread: bool) -> Conversation {
    let mut history = Conversation::default();
    let import =
        ImportConversation { unread, ..conversation(ConversationKind::Direct, &["ann", "bob"]) };
    let begun = history.import(&import).expect("it is brought in");
    apply(&mut history, begun);
    for at in 1..=messages {
        let said = history.import_message(&message("bob", at)).expect("it is brought in");
        apply(&mut history, [said]);
    }
    history
}

/// Somebody says something here.
fn goes_on(conversation: &mut Conversation) {
    let say = ConversationCommand::SendMessage(SendMessage {
        message_id: MessageId(Uuid::nil()),
        author: Author { user_id: user("ann"), role: "user".to_owned() },
        target: None,
        client_message_id: None,
        personal: PersonalMessage::text("Here").into(),
    });
    let said = conversation.decide(&say).expect("ann may speak");
    apply(conversation, said);
}

fn read(conversation: &Conversation, reader: &str, through: u64) -> usize {
    let read = MarkRead { reader: user(reader), through: Some(through) };
    conversation.decide(&ConversationCommand::MarkRead(read)).expect("a mark").len()
}

#[test]
fn what_breaks_a_rule_by_itself_is_refused() {
    use ConversationKind::{Direct, Group};
    let refused = |kind, members: &[&str]| {
        Conversation::default().import(&conversation(kind, members)).expect_err("it is refused")
    };
    assert_eq!(refused(Direct, &["ann"]), ImportError::NoMembers);
    assert_eq!(refused(Group, &["ann"]), ImportError::NoMembers);
    assert_eq!(refused(Direct, &["ann", "bob", "cy"]), ImportError::NotBetweenTwo);
    assert_eq!(refused(Group, &["bob", "cy"]), ImportError::CreatorNotAMember);
    assert_eq!(refused(Group, &[]), ImportError::CreatorNotAMember);
    let many: Vec<_> = (0..=MAX_GROUP_MEMBERS).map(|n| format!("user_{n}")).collect();
    let mut many: Vec<_> = many.iter().map(String::as_str).chain(["ann"]).collect();
    assert_eq!(refused(Group, &many), ImportError::TooManyMembers);
    many.pop();
    many.pop();
    many.push("ann");
    let most = Conversation::default().import(&conversation(Group, &many)).expect("it is taken");
    assert_eq!(most.len(), MAX_GROUP_MEMBERS + 2);
}

#[test]
fn a_message_needs_its_conversation_and_a_sender_of_it() {
    let nowhere = Conversation::default().import_message(&message("ann", 1));
    assert_eq!(nowhere, Err(ImportError::NotFound));
    let stranger = imported(1, false).import_message(&message("cy", 2));
    assert_eq!(stranger, Err(ImportError::NotAMember));
}

#[test]
fn the_same_conversation_comes_once_and_another_of_its_id_is_refused() {
    let history = imported(2, false);
    let same = conversation(ConversationKind::Direct, &["ann", "bob"]);
    assert_eq!(history.import(&same), Ok(Vec::new()));
    assert_eq!(
        history.import(&ImportConversation { unread: true, ..same.clone() }),
        Ok(Vec::new())
    );
    for other in [
        ImportConversation { created_by: user("bob"), ..same.clone() },
        ImportConversation { created_at: None, ..same.clone() },
        ImportConversation {
            personal: PersonalTitle { title: Some("Title".to_owned()) },
            ..same.clone()
        },
        conversation(ConversationKind::Direct, &["ann", "cy"]),
        conversation(ConversationKind::Group, &["ann", "bob"]),
    ] {
        assert_eq!(history.import(&other), Err(ImportError::AlreadyExists));
    }
}

#[test]
fn a_conversation_of_ours_is_no_other_systems() {
    let mut ours = Conversation::default();
    let say = ConversationCommand::SendMessage(SendMessage {
        message_id: MessageId(Uuid::nil()),
        author: Author { user_id: user("ann"), role: "user".to_owned() },
        target: Some(user("bob")),
        client_message_id: None,
        personal: PersonalMessage::text("Hello!").into(),
    });
    let begun = ours.decide(&say).expect("it begins");
    apply(&mut ours, begun);
    let same = conversation(ConversationKind::Direct, &["ann", "bob"]);
    assert_eq!(ours.import(&same), Err(ImportError::AlreadyExists));
    assert_eq!(ours.import_message(&message("ann", 1)), Err(ImportError::GoesOn));
}

#[test]
fn history_stands_before_what_is_said_here() {
    let mut history = imported(2, false);
    let ConversationEvent::MessageSent(third) =
        history.import_message(&message("ann", 3)).expect("it is brought in")
    else {
        panic!("it is a message")
    };
    assert_eq!(third.sequence, 3);
    assert_eq!(third.imported, Some(ImportedMessage { sent_at: Time(3), unread: false }));
    goes_on(&mut history);
    assert_eq!(history.import_message(&message("ann", 3)), Err(ImportError::GoesOn));
    let mut empty = imported(0, false);
    goes_on(&mut empty);
    assert_eq!(empty.import_message(&message("ann", 3)), Err(ImportError::GoesOn));
}

#[test]
fn history_is_read_unless_asked_otherwise() {
    let mut history = imported(2, false);
    assert_eq!(read(&history, "ann", 2), 0);
    goes_on(&mut history);
    assert_eq!(read(&history, "bob", 2), 0);
    assert_eq!(read(&history, "bob", 3), 1);
    assert_eq!(read(&imported(2, true), "ann", 2), 1);
}

#[test]
fn a_snapshot_from_before_there_was_any_history_is_still_one() {
    let json =
        r#"{"started":{"kind":"direct","createdBy":"ann"},"members":{"ann":1},"messages":2}"#;
    let state: Conversation = serde_json::from_str(json).expect("it is read");
    assert_eq!(read(&state, "ann", 2), 1);
}
