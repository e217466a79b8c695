//! The suite that every adapter must pass: one function per behaviour that the port's
//! documentation promises, each on a fresh database of its own.
//!
//! An adapter implements [`Fixture`] and says `conformance_tests!(MyFixture::new().await)`
//! in one test file. Tests look at the tables through the fixture's SQL wherever what
//! the store says could hide what it wrote. They wait for states, never for durations.

pub mod arrange;
pub mod audit;
pub mod automate;
pub mod batches;
pub mod bridge;
pub mod chunks;
pub mod claims;
pub mod columns;
pub mod controls;
pub mod duplicates;
pub mod duties;
pub mod expand;
pub mod failures;
pub mod fences;
pub mod file_checkpoints;
pub mod files;
pub mod fixture;
pub mod flags;
pub mod history;
pub mod holds;
pub mod index;
pub mod listings;
pub mod monitor;
pub mod notifications;
pub mod payloads;
pub mod planning;
pub mod preflight;
pub mod quarantine;
pub mod reports;
pub mod rerun;
pub mod rollback;
pub mod runs;
pub mod schema;
pub mod signals;
pub mod status;
pub mod suspicions;
pub mod tables;
pub mod transitions;
pub mod validate;
pub mod validation_runs;
pub mod videos;
pub mod vitals;
pub mod windows;
pub mod workers;

use std::panic::AssertUnwindSafe;

use futures::FutureExt;

pub use fixture::{Fixture, Held, Rows};

/// Runs one behaviour and drops its database, whatever came of it.
pub async fn run<F: Fixture>(fixture: F, behaviour: impl AsyncFnOnce(&dyn Fixture)) {
    let outcome = AssertUnwindSafe(behaviour(&fixture)).catch_unwind().await;
    fixture.close().await;
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

/// One `#[tokio::test]` for each behaviour. `$fixture` is evaluated once for each.
#[macro_export]
macro_rules! conformance_tests {
    ($fixture:expr) => {
        $crate::conformance_tests! { $fixture;
            schema:
                the_server_names_its_product_and_version
                steps_are_in_order_and_start_with_the_journal
                expand_applies_every_step_once
                the_journal_holds_every_step
                a_journal_entry_is_written_once
                a_step_whose_journal_entry_was_lost_is_recognised
                a_step_that_was_started_and_never_executed_is_applied
                an_object_in_the_way_is_refused_by_name
                a_column_in_the_way_is_refused_by_name
                a_step_journaled_with_another_text_is_refused
                a_second_operator_is_refused
                two_operators_at_once_apply_each_step_once
                each_step_is_undone_by_its_down_statement
                a_locked_table_makes_a_step_transient
                a_gate_that_ended_half_way_is_taken_again
                the_legacy_table_is_accepted
                a_database_without_videos_is_refused
                a_view_named_videos_is_refused
                a_missing_legacy_column_is_refused
                an_integer_key_is_refused
                a_composite_key_is_refused
                a_key_of_another_column_is_refused
                ledger_rows_survive_a_second_expand;
            expand:
                the_application_may_write_between_any_two_steps;
            tables:
                videos_has_the_nineteen_columns_in_order
                the_new_tables_have_their_columns_and_defaults
                what_must_not_be_null_is_not
                the_indexes_of_the_new_tables_are_there
                a_second_status_row_of_a_video_is_refused
                other_enum_values_are_refused
                deleting_a_video_deletes_what_hangs_on_it
                a_status_row_needs_its_video;
            preflight:
                the_specifications_table_has_no_refusal
                looking_changes_nothing
                every_step_is_shown_with_its_lock
                what_is_in_the_way_refuses_by_name
                what_reelshift_made_is_not_in_the_way
                without_the_table_the_checks_end
                surprising_rows_are_counted
                the_size_is_counted
                a_long_transaction_is_named_as_the_holder;
            runs:
                a_new_run_is_read_back
                the_same_videos_are_one_run
                a_run_that_ended_does_not_stand_in_the_way
                many_producers_at_once_create_one_run
                active_runs_are_those_that_work_oldest_first
                a_run_does_not_settle_before_its_batches
                only_a_running_run_settles
                a_failed_batch_fails_its_run
                a_backfill_sweeps_until_nothing_is_found
                a_sweep_waits_for_rows_that_others_hold
                many_settlers_at_once_settle_once;
            planning:
                two_planners_at_once_one_gets_it
                only_a_run_that_is_planned_can_be_taken
                a_silent_planner_loses_its_right_and_writes_nothing
                a_planner_that_writes_keeps_its_right
                a_released_right_is_taken_at_once
                batches_add_up_in_their_run
                a_batch_that_fails_to_be_added_adds_none
                a_run_without_batches_is_done
                a_run_that_cannot_be_planned_fails_with_its_reason;
            claims:
                a_claim_holds_all_that_its_worker_needs
                a_claim_takes_its_kind_and_at_most_what_it_asks
                claims_come_in_order
                a_delayed_batch_waits_for_its_time
                a_delayed_batch_stays_behind_those_that_are_due
                batches_of_paused_and_ended_runs_are_not_claimed
                claimers_at_once_never_share_a_batch;
            batches:
                a_batch_finishes_once
                a_release_counts_no_attempt
                attempts_are_counted_until_they_are_used_up
                an_attempt_that_cannot_be_helped_fails_at_once
                a_later_success_marks_the_whole_chain_as_recovered
                open_work_is_an_active_run_or_a_lease
                a_run_pauses_when_more_than_a_tenth_fails
                reruns_that_fail_do_not_pause_their_run;
            transitions:
                forbidden_transitions_change_nothing
                allowed_transitions_happen;
            columns:
                the_columns_of_a_batch_follow_its_transitions
                the_columns_of_a_batch_follow_its_other_ends
                a_rerun_has_the_rows_that_its_batch_left
                the_columns_of_a_run_follow_its_transitions
                the_columns_of_a_run_follow_its_other_ends
                the_columns_of_a_worker_follow_its_transitions;
            fences:
                a_token_that_was_never_given_writes_nothing
                a_reaped_worker_writes_nothing
                a_finished_or_failed_attempt_writes_nothing_more;
            workers:
                a_worker_registers_and_says_what_it_does
                a_heartbeat_renews_the_time_it_was_seen
                leases_of_a_silent_worker_become_pending
                a_lost_lease_says_who_took_it_over
                a_reaped_worker_is_told_so_once
                a_live_worker_keeps_its_leases
                a_worker_that_was_just_seen_is_not_reaped
                nobody_reaps_before_its_own_connection_is_old_enough
                reapers_at_once_count_each_batch_once
                a_worker_that_leaves_gives_back_what_it_held
                a_worker_that_is_not_registered_is_unknown
                a_worker_can_tell_what_the_ledger_says_it_leases;
            audit:
                every_change_is_in_the_audit
                what_was_done_elsewhere_is_recorded
                a_dry_rerun_is_no_change
                what_is_not_as_expected_is_not_changed
                without_the_audit_nothing_is_changed;
            listings:
                an_id_is_found_by_its_beginning_or_end
                runs_are_listed_newest_first
                batches_of_a_run_are_listed_state_by_state
                workers_are_listed_with_their_leases
                the_quarantine_is_listed_by_its_key;
            rerun:
                failed_batches_are_enqueued_once
                a_rerun_that_fails_can_be_rerun
                the_chain_of_errors_goes_on_through_reruns
                a_rerun_keeps_to_its_selection
                a_rerun_keeps_to_its_stage_and_its_time
                quarantined_items_come_back_in_batches_of_the_plans_size
                quarantined_items_are_selected_by_their_error
                a_dry_run_counts_and_changes_nothing
                reruns_at_once_enqueue_once;
            rollback:
                undoing_brings_the_schema_of_before_back
                undoing_stops_where_it_is_told
                a_death_before_any_statement_is_made_up_for
                a_death_after_any_statement_is_made_up_for
                an_apply_makes_good_what_was_half_undone
                undoing_waits_while_the_table_is_held
                steps_of_another_version_are_not_undone
                what_others_changed_since_is_named
                what_uses_what_is_dropped_is_named
                a_rollback_is_recorded
                runs_of_before_a_rollback_do_not_count
                pages_are_in_key_order_and_hold_everything
                a_rollback_and_a_restore_lose_nothing
                transactions_beside_a_restore_do_not_wait_for_each_other
                where_a_row_changed_the_legacy_columns_win;
            windows:
                windows_cover_the_table_in_key_order
                an_empty_table_has_no_window
                windows_follow_the_databases_own_order
                only_rows_that_need_backfill_count
                quarantined_rows_need_no_backfill
                windows_keep_to_their_filter
                chunks_keep_to_their_filter
                unhashed_videos_keep_to_their_filter
                unhashed_videos_are_those_with_a_path_and_no_hash
                files_to_hash_are_those_still_to_be_hashed
                a_path_that_is_not_utf8_is_told_apart
                an_id_of_any_characters_is_worked_on;
            videos:
                every_combination_gets_what_the_specification_says
                status_rows_have_ids_and_times_of_their_own_video
                a_second_pass_writes_nothing
                archived_and_finer_states_survive
                what_others_wrote_into_the_metadata_survives
                a_status_row_that_disagrees_is_corrected_and_keeps_the_rest;
            chunks:
                chunks_walk_their_range_and_leave_the_rest
                a_range_compares_ids_as_the_database_does
                items_are_filled_in_and_nothing_else
                a_checkpoint_is_committed_with_its_chunk
                rows_that_others_hold_are_skipped
                chunks_at_once_do_not_collide;
            files:
                hashes_are_written_and_counted
                hashes_from_stored_checksums_are_counted_apart
                a_hash_changes_nothing_else_but_updated_at
                a_hash_of_another_path_is_not_written
                a_path_that_differs_in_case_or_spaces_is_another
                a_hash_of_a_file_of_another_size_is_not_written
                odd_paths_are_compared_as_they_are
                a_failed_item_is_logged_set_aside_and_counted
                a_batch_with_failed_items_is_done
                what_was_only_noticed_is_logged_and_hashed
                a_video_deleted_meanwhile_is_logged_without_its_id
                hashing_after_a_failure_marks_it_as_recovered
                the_same_item_can_fail_again;
            quarantine:
                the_rows_of_a_chunk_can_be_looked_at
                what_refuses_a_row_is_told
                a_row_is_set_aside_without_being_touched
                a_status_row_that_refuses_too_is_left_out
                a_video_that_is_gone_is_only_logged
                a_row_that_is_done_after_all_has_recovered
                an_attempt_has_not_recovered_while_its_row_is_set_aside
                an_attempt_has_recovered_where_its_row_failed_for_something_else
                status_rows_of_what_is_set_aside_are_counted
                a_claim_tells_what_earlier_attempts_did
                a_row_that_fails_again_names_its_failure_before
                a_refused_hash_names_its_rule
                items_go_on_from_the_batch_that_set_them_aside;
            suspicions:
                the_first_worker_that_misses_a_batchs_files_stays
                lost_leases_are_counted_and_keep_what_was_read_alone;
            duplicates:
                equal_files_are_found_with_what_they_cost
                one_file_is_one_however_its_path_is_written
                duplicates_come_in_pages
                of_many_equal_files_the_first_are_named;
            file_checkpoints:
                a_file_checkpoint_is_read_back_whole
                a_later_file_checkpoint_takes_the_place
                an_outcome_removes_the_file_checkpoint
                file_checkpoints_are_forgotten
                only_a_lease_writes_file_checkpoints;
            failures:
                an_error_is_read_back_whole
                many_errors_are_written_at_once
                the_newest_errors_come_first
                an_error_of_a_video_that_is_gone_names_none
                long_texts_are_cut_between_characters
                errors_are_selected_by_batch_type_and_stage
                groups_are_by_stage_and_type_largest_first
                errors_are_read_page_by_page;
            reports:
                an_empty_ledger_has_an_empty_snapshot
                a_snapshot_counts_what_a_run_did
                a_snapshot_shows_the_newest_runs_first
                a_snapshot_shows_every_run_that_somebody_has_to_look_at
                a_snapshot_says_how_many_runs_it_leaves_out
                the_clock_of_a_run_that_ended_stands_still
                inspection_of_an_empty_table_has_no_averages
                inspection_finds_the_specifications_figures
                inspection_counts_each_combination_of_states;
            flags:
                without_their_table_there_are_no_flags
                initial_values_are_stored_once
                a_flag_is_set_with_who_and_when
                a_flag_that_is_not_stored_is_set
                a_percentage_stays_where_none_is_given
                several_flags_are_set_together_or_not_at_all
                the_newest_changes_come_first
                flags_of_other_versions_are_passed_over
                a_long_name_is_cut
                operators_at_once_are_all_recorded;
            controls:
                controls_are_stored_with_who_when_and_why
                several_controls_are_set_together_in_the_order_given
                a_control_of_no_value_is_the_default_again
                a_control_ends_by_itself
                the_newest_changes_of_controls_come_first
                a_worker_sees_the_fleet
                a_change_is_acknowledged_by_those_that_go_by_it
                a_worker_is_told_to_drain
                a_worker_sees_its_rank_among_the_live
                operators_at_once_change_controls_one_after_the_other;
            history:
                what_ended_long_ago_is_removed_in_small_steps
                the_newest_done_run_of_each_kind_stays
                what_is_recent_or_open_stays
                a_run_with_items_in_quarantine_stays
                resolved_quarantine_goes
                the_audit_stays;
            holds:
                a_paused_run_says_who_and_why_and_is_not_claimed
                a_paused_run_goes_back_to_the_state_it_was_in
                a_paused_planner_writes_nothing
                a_rerun_leaves_its_run_paused
                a_resumed_run_pauses_only_for_new_failures
                cancelling_fences_whoever_works
                a_cancelled_planner_writes_nothing
                a_cancelled_run_frees_its_videos
                a_cancelled_run_frees_its_quarantine
                what_has_ended_is_neither_paused_nor_cancelled
                claims_and_a_cancellation_at_once_leave_nothing_open;
            duties:
                a_duty_has_one_holder
                many_at_once_one_gets_the_duty
                a_silent_holder_loses_its_duty_and_says_nothing_more
                a_holder_that_beats_keeps_its_duty
                a_released_duty_is_taken_at_once
                what_a_holder_says_is_read_by_all
                duties_do_not_know_each_other;
            status:
                the_legacy_row_is_read_before_expand
                an_unknown_video_has_no_status
                a_video_without_status_row_has_an_enhanced_status
                an_enhanced_status_has_what_its_status_row_has
                a_time_that_is_none_is_read_as_none
                error_details_are_of_the_newest_error
                load_is_that_of_a_server;
            monitor:
                the_monitor_has_the_specifications_figures
                notifications_are_counted_as_far_as_a_look_may_cost
                a_snapshot_shows_what_the_throttle_published;
            signals:
                a_server_tells_its_strain
                running_statements_are_counted_without_the_one_that_asks
                waits_for_row_locks_are_counted
                live_workers_say_what_they_would_do_at_once
                a_canary_beats_while_its_duty_is_held
                a_query_of_the_operators_returns_one_number;
            vitals:
                pending_batches_of_active_runs_are_counted_by_kind
                pools_and_the_address_are_reported
                notifications_that_are_due_are_counted;
            validate:
                a_backfilled_database_is_clean
                finer_states_and_both_vocabularies_of_stages_are_clean
                rows_before_their_backfill_are_differences
                each_corruption_is_found_by_its_check_alone
                a_video_without_status_row_is_found
                a_status_row_without_video_is_found
                an_error_without_video_is_found
                a_value_outside_its_enum_is_found
                a_status_that_is_null_is_found
                an_error_whose_parent_is_gone_is_found
                odd_errors_and_notifications_are_found
                what_is_missing_of_the_structure_is_named
                the_first_ten_are_named_in_key_order
                inconsistent_states_are_found
                query_plans_are_not_yet_judged_before_index
                query_plans_after_index_are_no_difference;
            validation_runs:
                windows_hold_so_many_rows_and_end_where_they_are_told
                what_windows_show_is_counted_by_check
                every_difference_of_a_run_is_kept_once
                a_lost_lease_records_no_comparison
                a_failed_batch_that_runs_again_counts_once
                what_a_validation_found_is_pruned_with_its_run
                a_repair_does_not_sweep;
            notifications:
                the_queue_is_listed_page_by_page
                a_notification_is_claimed_with_all_that_it_says
                claims_come_in_order_of_priority
                what_is_not_due_waits
                many_that_are_scheduled_do_not_hide_one_that_is_due
                what_is_over_expires
                claimers_at_once_share_nothing
                a_failed_attempt_comes_again_until_there_are_no_more
                the_other_ends_of_an_attempt
                a_lapsed_lease_is_taken_back_and_its_holder_writes_nothing
                an_extended_lease_is_kept
                what_nobody_has_is_taken_back
                the_outbox_holds_everything_once_in_order
                a_reader_beside_many_publishers_misses_nothing
                what_ended_long_ago_is_pruned
                numbers_go_on_after_all_was_pruned;
            payloads:
                large_notifications_are_claimed_few_at_once;
            automate:
                every_change_of_state_queues_one_notification
                every_change_of_the_legacy_columns_queues_one_notification
                a_state_that_was_null_is_a_change
                progress_queues_what_the_specification_says
                the_stored_flag_decides
                no_notification_is_queued_at_nought_percent
                a_session_may_decide_for_itself
                a_statement_of_many_rows_queues_one_for_each
                what_the_fleet_writes_queues_nothing;
            bridge:
                every_transition_is_that_of_the_table
                transitions_do_not_depend_on_settings
                transitions_do_not_depend_on_collations
                every_insert_is_that_of_the_table
                an_insert_that_meets_its_row_keeps_it_in_step
                metadata_follow_until_somebody_else_writes_them
                a_hash_goes_with_the_path_and_the_size_it_was_read_by
                deleting_a_video_leaves_nothing
                a_backfill_under_live_writes_converges;
            index:
                the_specifications_indexes_are_there
                the_view_counts_the_last_day
                index_and_automate_go_on_where_they_were_stopped
                index_and_automate_are_undone_by_their_down_statements;
        }
    };
    ($fixture:expr; $($file:ident: $($behaviour:ident)+;)+) => {
        $(mod $file {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $behaviour() {
                    $crate::conformance::run($fixture, $crate::conformance::$file::$behaviour).await;
                }
            )+
        })+
    };
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_macro_names_every_behaviour() {
        let listed = include_str!("mod.rs");
        let files = [
            ("history", include_str!("history.rs")),
            ("holds", include_str!("holds.rs")),
            ("index", include_str!("index.rs")),
            ("bridge", include_str!("bridge.rs")),
            ("automate", include_str!("automate.rs")),
            ("batches", include_str!("batches.rs")),
            ("chunks", include_str!("chunks.rs")),
            ("claims", include_str!("claims.rs")),
            ("columns", include_str!("columns.rs")),
            ("controls", include_str!("controls.rs")),
            ("duties", include_str!("duties.rs")),
            ("expand", include_str!("expand.rs")),
            ("duplicates", include_str!("duplicates.rs")),
            ("audit", include_str!("audit.rs")),
            ("listings", include_str!("listings.rs")),
            ("failures", include_str!("failures.rs")),
            ("fences", include_str!("fences.rs")),
            ("file_checkpoints", include_str!("file_checkpoints.rs")),
            ("files", include_str!("files.rs")),
            ("flags", include_str!("flags.rs")),
            ("monitor", include_str!("monitor.rs")),
            ("notifications", include_str!("notifications.rs")),
            ("payloads", include_str!("payloads.rs")),
            ("planning", include_str!("planning.rs")),
            ("preflight", include_str!("preflight.rs")),
            ("quarantine", include_str!("quarantine.rs")),
            ("reports", include_str!("reports.rs")),
            ("rerun", include_str!("rerun.rs")),
            ("rollback", include_str!("rollback.rs")),
            ("runs", include_str!("runs.rs")),
            ("schema", include_str!("schema.rs")),
            ("status", include_str!("status.rs")),
            ("signals", include_str!("signals.rs")),
            ("suspicions", include_str!("suspicions.rs")),
            ("tables", include_str!("tables.rs")),
            ("transitions", include_str!("transitions.rs")),
            ("validate", include_str!("validate.rs")),
            ("validation_runs", include_str!("validation_runs.rs")),
            ("videos", include_str!("videos.rs")),
            ("vitals", include_str!("vitals.rs")),
            ("windows", include_str!("windows.rs")),
            ("workers", include_str!("workers.rs")),
        ];
        for (file, text) in files {
            let listed: Vec<_> = listed
                .split(&format!("{file}:\n"))
                .nth(1)
                .and_then(|rest| rest.split(';').next())
                .expect("the macro names the file")
                .split_whitespace()
                .collect();
            let written: Vec<_> = text
                .lines()
                .filter_map(|line| line.strip_prefix("pub async fn ")?.split('(').next())
                .collect();
            assert_eq!(listed, written, "behaviours of {file}.rs");
        }
    }
}
