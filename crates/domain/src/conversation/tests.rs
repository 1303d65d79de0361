use cqrs_es::test::TestFramework;
use uuid::Uuid;

use super::*;
use crate::{ClientMessageId, MessageId, Personal};

fn user(id: &str) -> UserId {
    id.parse().expect("a user id")
}

fn personal(sender: &str) -> Personal {
    Personal::Plain(PersonalMessage {
        content: "Hello!".into(),
        attachments: Vec::new(),
        email: Some(format!("{sender}@example.com")),
    })
}

fn say(sender: &str, target: Option<&str>) -> ConversationCommand {
    ConversationCommand::SendMessage(SendMessage {
        message_id: MessageId(Uuid::nil()),
        author: Author { user_id: user(sender), role: "user".into() },
        target: target.map(user),
        client_message_id: Some("c-1".parse::<ClientMessageId>().expect("an id")),
        personal: personal(sender),
    })
}

fn said(sender: &str, sequence: u64) -> ConversationEvent {
    ConversationEvent::MessageSent(MessageSent {
        message_id: MessageId(Uuid::nil()),
        sequence,
        sender_id: user(sender),
        sender_role: "user".into(),
        client_message_id: Some("c-1".parse().expect("an id")),
        personal: personal(sender),
        imported: None,
    })
}

fn create(creator: &str, members: &[&str], title: Option<&str>) -> ConversationCommand {
    ConversationCommand::CreateGroup(CreateGroup {
        creator: user(creator),
        members: members.iter().map(|id| user(id)).collect(),
        title: title.map(str::to_owned),
    })
}

fn started(kind: ConversationKind, creator: &str, title: Option<&str>) -> ConversationEvent {
    ConversationEvent::ConversationStarted(ConversationStarted {
        kind,
        created_by: user(creator),
        personal: PersonalTitle { title: title.map(str::to_owned) },
        imported: None,
    })
}

fn joined(member: &str) -> ConversationEvent {
    ConversationEvent::MemberJoined(MemberJoined { member_id: user(member) })
}

fn direct() -> Vec<ConversationEvent> {
    vec![started(ConversationKind::Direct, "ann", None), joined("ann"), joined("bob")]
}

fn group() -> Vec<ConversationEvent> {
    vec![
        started(ConversationKind::Group, "ann", Some("Team")),
        joined("ann"),
        joined("bob"),
        joined("cy"),
    ]
}

fn read(reader: &str, through: Option<u64>) -> ConversationCommand {
    ConversationCommand::MarkRead(MarkRead { reader: user(reader), through })
}

fn has_read(reader: &str, through: u64) -> ConversationEvent {
    ConversationEvent::ConversationRead(ConversationRead { reader_id: user(reader), through })
}

type Spec = TestFramework<Conversation>;

fn spec() -> Spec {
    Spec::with(())
}

#[test]
fn a_first_message_starts_a_direct_conversation() {
    spec()
        .given_no_previous_events()
        .when(say("ann", Some("bob")))
        .then_expect_events([direct(), vec![said("ann", 1)]].concat());
}

#[test]
fn messages_are_numbered_without_gaps() {
    spec()
        .given([direct(), vec![said("ann", 1), said("bob", 2)]].concat())
        .when(say("ann", None))
        .then_expect_events(vec![said("ann", 3)]);
}

#[test]
fn an_unknown_conversation_without_a_target_is_not_found() {
    spec().given_no_previous_events().when(say("ann", None)).then_expect_error(Error::NotFound);
}

#[test]
fn nobody_talks_to_themselves() {
    spec()
        .given_no_previous_events()
        .when(say("ann", Some("ann")))
        .then_expect_error(Error::TargetIsSender);
}

#[test]
fn a_stranger_cannot_post() {
    spec().given(direct()).when(say("eve", None)).then_expect_error(Error::NotAMember);
    spec().given(direct()).when(say("eve", Some("ann"))).then_expect_error(Error::NotAMember);
}

#[test]
fn a_target_outside_the_conversation_is_refused() {
    spec().given(direct()).when(say("ann", Some("cy"))).then_expect_error(Error::TargetNotAMember);
    spec().given(group()).when(say("ann", Some("dee"))).then_expect_error(Error::TargetNotAMember);
}

#[test]
fn in_a_group_a_target_changes_nothing() {
    spec().given(group()).when(say("bob", Some("cy"))).then_expect_events(vec![said("bob", 1)]);
}

#[test]
fn a_group_has_its_creator_and_each_member_once() {
    spec()
        .given_no_previous_events()
        .when(create("ann", &["bob", "ann", "cy", "bob"], Some("Team")))
        .then_expect_events(group());
}

#[test]
fn a_group_needs_someone_else() {
    spec()
        .given_no_previous_events()
        .when(create("ann", &[], None))
        .then_expect_error(Error::NoMembers);
    spec()
        .given_no_previous_events()
        .when(create("ann", &["ann"], None))
        .then_expect_error(Error::NoMembers);
}

#[test]
fn a_group_has_an_upper_bound() {
    let names: Vec<_> = (0..=MAX_GROUP_MEMBERS).map(|n| format!("u{n}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    spec()
        .given_no_previous_events()
        .when(create("ann", &names, None))
        .then_expect_error(Error::TooManyMembers);
}

#[test]
fn creating_a_group_again_alike_changes_nothing() {
    spec()
        .given([group(), vec![said("bob", 1)]].concat())
        .when(create("ann", &["cy", "bob"], Some("Team")))
        .then_expect_events(Vec::new());
}

#[test]
fn creating_a_group_again_otherwise_is_a_conflict() {
    for other in [
        create("bob", &["ann", "cy"], Some("Team")),
        create("ann", &["bob"], Some("Team")),
        create("ann", &["bob", "cy"], Some("Crew")),
    ] {
        spec().given(group()).when(other).then_expect_error(Error::AlreadyExists);
    }
    spec()
        .given(direct())
        .when(create("ann", &["bob"], None))
        .then_expect_error(Error::AlreadyExists);
}

#[test]
fn reading_moves_the_mark_to_the_newest_message() {
    spec()
        .given([direct(), vec![said("ann", 1), said("ann", 2)]].concat())
        .when(read("bob", None))
        .then_expect_events(vec![has_read("bob", 2)]);
}

#[test]
fn a_read_mark_never_moves_back() {
    spec()
        .given([direct(), vec![said("ann", 1), said("ann", 2), has_read("bob", 2)]].concat())
        .when(read("bob", Some(1)))
        .then_expect_events(Vec::new());
}

#[test]
fn what_was_not_said_cannot_be_read() {
    spec().given(direct()).when(read("bob", Some(1))).then_expect_error(Error::NotYetSent);
    spec().given(direct()).when(read("bob", None)).then_expect_events(Vec::new());
}

#[test]
fn a_stranger_has_no_read_mark() {
    spec().given(direct()).when(read("eve", None)).then_expect_error(Error::NotAMember);
    spec().given_no_previous_events().when(read("eve", None)).then_expect_error(Error::NotFound);
}
