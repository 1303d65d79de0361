//! What every adapter of [`Views`] must show. An adapter's tests say how to open it
//! ([`Adapter`]) and run them all:
//! `verbatim_views::views_conformance!(MyAdapter)`.

pub mod applying;
pub mod compare;
pub mod conversations;
pub mod history;
pub mod messages;
pub mod model;
pub mod notifications;
pub mod random;
pub mod rebuilding;
pub mod stream;

use std::future::Future;
use std::sync::Arc;

use uuid::Uuid;
use verbatim_protocol::{JournalId, Recorded};

use crate::{Error, Rebuild, Rebuildable, Views};
use history::History;

/// How the suite gets at an adapter. It has a place of its own, in which it keeps what it stores.
pub trait Adapter: Sized + Send + Sync {
    type Views: Rebuildable;

    /// An adapter with nothing stored yet.
    fn start() -> impl Future<Output = Self> + Send;

    /// Opens what is stored, as the views of a journal. The one opened before has been closed.
    fn open(&self, journal: JournalId) -> impl Future<Output = Self::Views> + Send;

    fn close(&self, views: Self::Views) -> impl Future<Output = ()> + Send;
}

/// Makes the views anew from these events, in a few batches, and tries to exchange them.
pub(crate) async fn rebuild<V: Rebuildable>(
    views: &V,
    events: &[Arc<Recorded>],
) -> Result<(), Error> {
    let mut rebuild = views.begin_rebuild().await?;
    for batch in events.chunks(7) {
        rebuild.apply(batch).await?;
    }
    assert_eq!(rebuild.checkpoint(), events.len() as u64);
    views.swap(&mut rebuild).await
}

/// The journal whose events the suite applies.
pub const JOURNAL: JournalId = JournalId(Uuid::from_u128(0x5eed));

/// An adapter with open views that show the history.
pub(crate) async fn showing<A: Adapter>(history: &History) -> (A, A::Views) {
    let adapter = A::start().await;
    let views = adapter.open(JOURNAL).await;
    views.apply(history.events()).await.expect("the history is whole");
    (adapter, views)
}

/// Writes one test for each behaviour.
#[macro_export]
macro_rules! views_conformance {
    ($adapter:ty) => {
        $crate::views_conformance! { $adapter:
            applying::a_hole_is_refused_and_nothing_of_the_batch_is_stored,
            applying::events_that_skip_what_follows_the_checkpoint_are_refused,
            applying::events_in_the_wrong_order_are_refused,
            applying::a_message_of_an_unknown_conversation_is_refused_with_its_batch,
            applying::a_message_by_someone_who_is_no_member_is_refused,
            applying::a_message_out_of_sequence_is_refused,
            applying::a_read_mark_above_the_newest_message_is_refused,
            applying::a_notification_of_an_unknown_message_is_refused,
            applying::events_seen_before_are_skipped,
            applying::no_events_change_nothing,
            applying::an_audit_changes_the_checkpoint_alone,
            applying::batches_show_the_same_as_single_events,
            applying::a_batch_is_stored_though_its_caller_gives_up,
            applying::waiting_for_a_position_ends_when_it_is_reached,
            applying::waiting_for_a_position_ends_after_its_time,
            applying::a_position_that_is_shown_is_not_waited_for,
            applying::views_are_still_there_after_a_restart,
            applying::views_of_another_journal_start_anew,
            conversations::a_stranger_sees_no_conversation,
            conversations::a_cursor_that_is_none_is_refused,
            conversations::the_latest_activity_comes_first,
            conversations::members_come_in_the_order_in_which_they_joined,
            conversations::what_was_written_comes_back_unchanged,
            conversations::own_messages_are_never_unread,
            conversations::reading_a_part_leaves_the_rest_unread,
            conversations::a_page_goes_on_where_the_last_one_ended,
            conversations::a_page_has_at_least_one_and_at_most_a_thousand_entries,
            messages::a_cursor_of_another_conversation_list_or_journal_is_refused,
            messages::an_unknown_conversation_has_no_messages,
            messages::an_unknown_message_is_not_found,
            messages::without_bounds_the_newest_come_in_ascending_order,
            messages::bounds_move_the_page,
            messages::pages_lead_to_each_message_once,
            stream::nothing_is_in_a_strangers_stream,
            stream::what_was_said_before_a_member_joined_is_not_in_their_stream,
            stream::what_was_said_elsewhere_is_in_nobodys_stream_and_read_unless_asked_otherwise,
            stream::the_stream_is_in_the_order_of_the_log_over_all_conversations,
            stream::the_stream_lies_above_after_and_up_to_through,
            stream::few_news_in_many_conversations_are_found,
            stream::a_message_is_pushed_to_the_members_of_its_time,
            stream::lists_are_pushed_to_those_for_whom_they_changed,
            stream::pushes_are_cut_in_the_order_of_the_log,
            notifications::a_notification_says_what_its_message_says,
            notifications::long_messages_are_cut_after_140_characters,
            notifications::the_time_of_the_first_reading_stays,
            notifications::reading_all_leaves_later_ones_unread,
            notifications::nobody_reads_anothers_notifications,
            notifications::pages_of_the_unread_skip_the_read,
            notifications::a_cursor_of_another_list_is_refused,
            notifications::a_message_is_pending_offline_or_delivered,
            notifications::the_first_advance_that_covers_a_message_gives_the_time,
            random::views_show_what_a_naive_model_shows,
            random::unread_counts_hold_however_marks_and_messages_interleave,
            rebuilding::rebuilt_views_show_the_same,
            rebuilding::views_differ_in_nothing_from_a_rebuild,
            rebuilding::views_that_are_behind_are_not_compared,
            rebuilding::views_go_on_after_a_rebuild,
            rebuilding::a_rebuild_that_is_behind_is_not_exchanged,
            rebuilding::a_rebuild_that_was_behind_can_catch_up,
            rebuilding::rebuilt_views_are_still_there_after_a_restart,
            rebuilding::queries_during_the_exchange_are_answered,
        }
    };
    ($adapter:ty: $($module:ident::$behaviour:ident),+ $(,)?) => {
        $(
            #[tokio::test]
            async fn $behaviour() {
                $crate::conformance::$module::$behaviour::<$adapter>().await;
            }
        )+
    };
}
