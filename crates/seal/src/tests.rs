//! Sealing, proving and verifying, and rows that are altered behind the sealer's back, on both
//! databases.

mod postgres;
mod proving;
mod sealing;
mod sqlite;
mod tampering;
mod world;

/// Makes a test of each behaviour, for the given [`Stage`](world::Stage).
macro_rules! stage_tests {
    ($stage:ty) => {
        stage_tests! { $stage: sealing:
            an_untouched_log_is_sound_at_any_size
            sealing_goes_on_after_every_end
            a_line_is_what_exports_have
            events_of_unknown_types_are_sealed_and_verified
            two_who_seal_do_no_harm
            another_key_takes_over
            a_sealer_does_not_go_on_from_what_was_altered
            a_sealer_does_not_begin_anew_where_a_checkpoint_is_known
            a_sealer_stops_at_a_hole_and_at_what_cannot_be_read
            what_is_beyond_the_last_checkpoint_is_told
        }
        stage_tests! { $stage: proving:
            every_event_and_every_two_checkpoints_are_proved
            what_was_altered_is_not_proved
        }
        stage_tests! { $stage: tampering:
            a_changed_event_is_named
            a_removed_event_is_named
            an_event_that_was_removed_with_the_rest_moved_up_is_named
            an_inserted_event_is_named
            a_row_where_none_can_be_is_named
            a_row_that_cannot_be_read_is_named
            a_wrong_sequence_is_named_before_it_is_sealed
            a_log_that_was_cut_off_is_told
            a_log_that_was_cut_off_with_its_seal_is_told_by_a_checkpoint_elsewhere
            a_leaf_that_was_changed_is_told_from_an_event
            what_was_changed_in_both_is_narrowed_down_by_the_checkpoints
            what_the_keys_owner_rewrote_is_told_by_a_checkpoint_elsewhere
            nodes_checkpoints_and_keys_that_were_altered_are_told
            a_key_that_is_not_the_signers_is_told
        }
    };
    ($stage:ty: $module:ident: $($behaviour:ident)+) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $behaviour() {
            super::$module::$behaviour::<$stage>().await;
        })+
    };
}
pub(crate) use stage_tests;
