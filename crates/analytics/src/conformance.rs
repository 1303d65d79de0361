//! What every adapter of [`Store`] must show, and with it the figures. An adapter's tests say how to
//! open it ([`Adapter`]) and run them all:
//! `verbatim_analytics::analytics_conformance!(MyAdapter)`.

pub mod figures;
pub mod history;
pub mod model;
pub mod random;
pub mod rebuilding;
pub mod rows;

use std::future::Future;
use std::sync::Arc;

use uuid::Uuid;
use verbatim_protocol::JournalId;

use crate::{Analytics, Report, Reports, Request, Row, Store};

/// How the suite gets at an adapter. It has a place of its own, in which it keeps what it stores.
pub trait Adapter: Sized + Send + Sync {
    /// An adapter with nothing stored yet.
    fn start() -> impl Future<Output = Self> + Send;

    /// Opens what is stored, for a journal.
    fn open(&self, journal: JournalId) -> impl Future<Output = Arc<dyn Store>> + Send;
}

/// The journal whose events the suite applies.
pub const JOURNAL: JournalId = JournalId(Uuid::from_u128(0x5eed));

/// An adapter's analytics, empty.
pub(crate) async fn empty<A: Adapter>() -> (A, Analytics, Reports) {
    let adapter = A::start().await;
    let analytics = Analytics::new(adapter.open(JOURNAL).await);
    let reports = analytics.reports(JOURNAL);
    (adapter, analytics, reports)
}

/// A whole list, in pages of this size.
pub(crate) async fn list<R: Report>(reports: &Reports, by: &str, limit: u32) -> Vec<Row<R>> {
    let by = by.parse().expect("one of the ways");
    let mut request = Request { from: None, to: None, by, cursor: None, limit };
    let mut rows = Vec::new();
    loop {
        let mut page = reports.page(&request).await.expect("a page");
        assert!(page.data.len() <= limit as usize);
        assert!(page.next_cursor.is_none() || page.data.len() == limit as usize);
        rows.append(&mut page.data);
        match page.next_cursor {
            Some(cursor) => request.cursor = Some(cursor),
            None => return rows,
        }
    }
}

/// Writes one test for each behaviour.
#[macro_export]
macro_rules! analytics_conformance {
    ($adapter:ty) => {
        $crate::analytics_conformance! { $adapter:
            rows::a_commit_stores_all_of_it_or_nothing,
            rows::pages_and_ranges_are_in_the_order_of_the_keys,
            rows::rows_are_still_there_after_a_restart,
            rows::rows_of_another_journal_start_anew,
            figures::a_hole_is_refused_and_nothing_is_stored,
            figures::events_seen_before_are_skipped,
            figures::messages_and_users_are_counted_by_hour_and_day,
            figures::a_delivery_is_pending_offline_or_has_arrived,
            figures::an_answer_is_timed_from_the_first_question,
            figures::connections_stand_until_they_change,
            figures::pages_lead_to_each_row_once_whatever_is_added_meanwhile,
            figures::a_cursor_of_another_list_is_refused,
            figures::a_range_has_whole_buckets,
            figures::what_waits_for_long_is_few_rows_and_can_arrive_in_part,
            figures::waiting_ends_when_the_position_is_reached,
            random::reports_are_what_a_naive_model_makes_of_the_log,
            random::of_two_who_apply_the_same_each_event_counts_once,
            random::what_arrives_at_once_may_take_several_transactions,
            rebuilding::a_rebuild_shows_the_same,
            rebuilding::a_rebuild_that_is_behind_is_not_exchanged_and_can_catch_up,
            rebuilding::a_later_rebuild_takes_the_place_of_an_earlier_one,
            rebuilding::reports_during_the_exchange_are_whole,
            rebuilding::each_row_that_differs_from_a_rebuild_is_told,
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
