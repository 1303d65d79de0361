//! What every adapter of the journal must show.
//!
//! An adapter says in a [`Place`] how its journal is made and opened, and calls
//! [`conformance_tests!`](crate::conformance_tests) with it, which makes a test of each behaviour.

mod appending;
mod racing;
mod reading;

use std::future::Future;
use std::sync::Arc;

use uuid::Uuid;
use verbatim_domain::conversation::{MessageSent, PersonalMessage};
use verbatim_domain::{ConversationEvent, Event, MessageId, StreamId};
use verbatim_protocol::{CommandKey, Recorded};

use crate::{Append, Appended, Import, Journal, Rows};

pub use appending::*;
pub use racing::*;
pub use reading::*;

/// Where one journal lives, and nothing else does.
pub trait Place: Sized + Send + Sync + 'static {
    type Journal: Import + Rows;

    /// A place with no journal yet.
    fn new() -> impl Future<Output = Self> + Send;

    /// Opens the journal, or makes it.
    fn open(&self) -> impl Future<Output = Self::Journal> + Send;

    /// Closes it, so that it can be opened again.
    fn close(&self, journal: Arc<Self::Journal>) -> impl Future<Output = ()> + Send;
}

/// Makes a test of each behaviour, for the given [`Place`](crate::conformance::Place).
#[macro_export]
macro_rules! conformance_tests {
    ($place:ty) => {
        $crate::conformance_tests! { $place:
            positions_are_dense_over_all_streams
            sequences_are_dense_within_each_stream
            a_batch_may_follow_on_its_own_appends
            a_journal_that_can_be_written_says_so
            a_wrong_expectation_is_a_conflict_and_appends_nothing
            a_used_key_is_a_duplicate_of_its_command
            a_key_used_earlier_in_the_batch_is_a_duplicate
            a_duplicate_goes_before_a_conflict
            a_refused_command_has_not_used_its_key
            a_key_belongs_to_its_issuer
            a_key_may_be_any_text
            keys_that_differ_after_a_nul_are_two
            only_the_last_event_of_a_command_holds_its_key
            a_thousand_and_two_events_are_appended_at_once
            a_batch_of_a_thousand_appends_is_settled_in_order
            an_empty_batch_is_settled
            what_was_appended_is_what_is_read
            text_comes_back_as_it_was
            recorded_times_never_decrease
            the_head_is_never_behind_an_append
            one_of_twenty_racing_appends_wins_the_stream
            one_of_twenty_racing_commands_wins_the_key
            every_one_of_many_callers_is_answered
            an_abandoned_append_is_whole_or_not_at_all
            a_reader_of_a_growing_journal_sees_no_hole
            pages_follow_on_each_other
            rows_are_what_was_appended_byte_for_byte
            a_stream_is_read_after_a_sequence
            a_command_is_found_by_its_key
            a_journal_is_the_same_when_opened_again
            a_newer_snapshot_replaces_an_older_one
            aggregates_are_loaded_from_their_snapshots_on
            a_copy_has_the_version_and_the_bytes_that_were_stored
        }
    };
    ($place:ty: $($behaviour:ident)+) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $behaviour() {
            $crate::conformance::$behaviour::<$place>().await;
        })+
    };
}

pub(crate) fn conversation(name: &str) -> StreamId {
    StreamId::conversation(&name.parse().expect("an id"))
}

pub(crate) fn key(name: &str) -> CommandKey {
    CommandKey { issuer: "user_1".into(), key: name.into() }
}

fn said(content: &str) -> Event {
    ConversationEvent::MessageSent(MessageSent {
        message_id: MessageId(Uuid::now_v7()),
        sequence: 1,
        sender_id: "user_1".parse().expect("an id"),
        sender_role: "user".to_owned(),
        client_message_id: None,
        personal: PersonalMessage {
            content: content.to_owned(),
            attachments: Vec::new(),
            email: Some("user_1@example.com".to_owned()),
        }
        .into(),
        imported: None,
    })
    .into()
}

/// One command's append of one message, whose text is the command's key.
pub(crate) fn message(stream: &StreamId, expected: u64, command: &str) -> Append {
    messages(stream, expected, command, 1)
}

/// One command's append of several messages.
pub(crate) fn messages(stream: &StreamId, expected: u64, command: &str, count: usize) -> Append {
    Append {
        stream: stream.clone(),
        expected,
        events: (0..count).map(|_| said(command)).collect(),
        key: key(command),
        metadata: format!("{{\"commandId\":\"{command}\"}}").into(),
    }
}

pub(crate) async fn append_one<J: Journal>(journal: &J, append: Append) -> Appended {
    let mut outcomes = journal.append(vec![append]).await.expect("an outcome");
    assert_eq!(outcomes.len(), 1);
    outcomes.remove(0)
}

pub(crate) fn committed(outcome: Appended) -> Vec<Arc<Recorded>> {
    match outcome {
        Appended::Committed(events) => events,
        other => panic!("{other:?} is not committed"),
    }
}

pub(crate) fn duplicate(outcome: Appended) -> Arc<Recorded> {
    match outcome {
        Appended::Duplicate(event) => event,
        other => panic!("{other:?} is no duplicate"),
    }
}

/// Everything, in order.
pub(crate) async fn read_all<J: Journal>(journal: &J) -> Vec<Arc<Recorded>> {
    let mut events: Vec<Arc<Recorded>> = Vec::new();
    loop {
        let page = journal.read_after(events.len() as u64, 100).await.expect("a page");
        if page.is_empty() {
            return events;
        }
        events.extend(page);
    }
}

pub(crate) fn positions(events: &[Arc<Recorded>]) -> Vec<u64> {
    events.iter().map(|event| event.position).collect()
}

fn sequences(events: &[Arc<Recorded>]) -> Vec<u64> {
    events.iter().map(|event| event.sequence).collect()
}
