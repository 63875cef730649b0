"""Histories that once broke a promise, found by the random ones or in the field."""

from collections.abc import Mapping

from tests.model.whole.history import History

SESSION = ("session", 0, 0)
HISTORIES: Mapping[str, History] = {
    "numbers_that_were_purged_are_used_again_by_an_image": [
        *(SESSION, ("image", 0), SESSION, SESSION, ("deliver", 0), ("month",)),
        *(("put_back", 0, 1), SESSION, SESSION, ("deliver", 0)),
    ],
    "refused_event_in_a_gap_that_retention_walked_over_arrives_late": [
        *(("back_up",), SESSION, SESSION, SESSION, ("refuse", 1), ("deliver", 0)),
        *(SESSION, SESSION, ("deliver", 0), ("wait", 3), ("clean_up", 0), ("restore", 0)),
        *(("heartbeat", 0), ("heartbeat", 0), ("month",)),
    ],
    "session_is_repeated_to_an_agent_that_purged_it": [
        *(SESSION, ("deliver", 0), ("wait", 3), ("clean_up", 0)),
        *(("repeat_session", 0, 0), ("answer", 0, 0, 0), ("deliver", 0)),
    ],
    "session_is_repeated_to_an_agent_that_was_put_back": [
        *(("image", 0), SESSION, ("deliver", 0), ("put_back", 0, 0)),
        *(("repeat_session", 0, 0), ("answer", 0, 0, 0), ("deliver", 0)),
    ],
    "machine_dies_with_an_acknowledged_capture": [
        *(SESSION, ("deliver", 0), SESSION, ("replace", 0), SESSION),
    ],
    "two_machines_run_from_one_disk": [
        *(SESSION, ("image", 0), ("clone", 0), SESSION, ("session", 2, 0)),
        *(("deliver", 0), ("deliver", 2)),
    ],
    "batch_arrives_nine_hours_late": [
        *(("step_clock", 0, 1), SESSION, ("heartbeat", 0), ("wait", 0), ("heartbeat", 0)),
        *(("deliver", 0, 3, 3), ("late_arrives", 9)),
    ],
    "two_answers_are_committed_though_the_disk_reports_an_error": [
        *(SESSION, ("failed_commit", 0, 0)),
    ],
    "database_without_its_mark_is_put_back": [
        *(SESSION, ("heartbeat", 0), ("image", 0), SESSION, SESSION, ("put_back", 0, 0), SESSION),
    ],
    "write_ahead_log_is_lost": [SESSION, ("heartbeat", 0), SESSION, ("lose_wal", 0), SESSION],
    "clones_capture_nothing_until_they_are_noticed": [
        *(("image", 0), ("deliver", 0), ("clone", 0)),
    ],
    "database_is_damaged": [
        *(SESSION, ("deliver", 0), SESSION, ("damage", 0), SESSION, ("deliver", 0)),
    ],
    "delivered_database_is_damaged": [SESSION, ("deliver", 0), ("damage", 0)],
    "database_without_captures_is_damaged": [("heartbeat", 0), ("damage", 0)],
    "database_is_damaged_twice_before_head_office_hears_of_it": [
        *(SESSION, ("deliver", 0), SESSION, ("damage", 0), SESSION, ("damage", 0), SESSION),
    ],
    "terms_are_misread_by_another_version": [
        *(("publish", 1), ("heartbeat", 0), ("upgrade", 0), ("heartbeat", 0)),
    ],
    "image_of_a_new_machine_is_put_back_twice": [
        *(("image", 0), SESSION, ("deliver", 0), ("put_back", 0, 1), SESSION, ("put_back", 0, 0)),
    ],
    "id_is_used_again_before_the_salvage": [SESSION, ("damage", 0), ("same_id", 0, 0)],
    "old_session_with_a_young_answer_and_an_emptied_head_office": [
        *(("back_up",), SESSION, SESSION, ("deliver", 0), ("answer", 0, 0, 0), ("wait", 3)),
        *(("clean_up", 0), ("answer", 0, 0, 1), ("deliver", 0), ("clean_up", 0), ("restore", 0)),
    ],
    "numbers_that_head_office_heard_of_are_moved_to_another_epoch": [
        *(("image", 0), SESSION, ("deliver", 0), ("put_back", 0, 1), *[SESSION] * 5),
        *(("heartbeat", 0), ("deliver", 0)),
    ],
    "members_stand_twice": [("session", 0, 6), ("deliver", 0)],
    "heartbeat_of_an_epoch_before_arrives_late": [
        *(("heartbeat", 0, 3), ("damage", 0), ("heartbeat", 0)),
    ],
    "image_with_its_mark_is_put_back_after_a_salvage": [
        *(SESSION, ("image", 0), ("damage", 0), ("heartbeat", 0, 0), ("put_back", 0, 1)),
    ],
    "number_that_nobody_heard_of_is_used_again_after_an_image_with_its_mark": [
        *(("image", 0), SESSION, ("put_back", 0, 1), SESSION),
    ],
    "session_of_a_machine_that_died_is_repeated_on_its_replacement": [
        *(("replace", 0), ("replace", 0), SESSION, ("enroll", 0), ("heartbeat", 0)),
        *(("replace", 0), ("repeat_session", 0, 0)),
    ],
    "image_is_put_back_and_then_put_back_with_its_mark": [
        *(SESSION, ("image", 0), ("damage", 0), ("heartbeat", 0, 0), ("put_back", 0, 0)),
        ("put_back", 0, 1),
    ],
    "number_is_used_again_after_damage_and_an_image_with_its_mark": [
        *(("image", 0), SESSION, ("damage", 0), ("put_back", 0, 1), SESSION),
    ],
    "write_ahead_log_of_a_file_that_replaced_a_damaged_one_is_lost": [
        *(("damage", 0), ("lose_wal", 0)),
    ],
    "dead_letter_is_older_than_all_that_is_kept": [
        *(SESSION, ("refuse", 0), ("deliver", 0), SESSION, ("deliver", 0), ("month",)),
    ],
    "firewall_denies_one_capture": [
        *(SESSION, ("deny", 0, 0), SESSION, SESSION, ("hours", 0)),
    ],
    "answer_waits_behind_a_session_that_a_firewall_denies": [
        *(SESSION, ("deny", 0, 1), ("answer", 0, 0, 0), SESSION, ("hours", 0)),
    ],
    "clock_set_ahead_and_retention": [
        *(SESSION, ("deliver", 0), ("step_clock", 0, 3), ("clean_up", 0)),
    ],
}
