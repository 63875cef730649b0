"""Histories of deferral that once broke a promise, found by the random ones or by a reader."""

from collections.abc import Mapping

from tests.model.deferral.watched_central import NAMES
from tests.model.whole.history import History, Step

BATCH: Step = ("begin", 0)
REPLAY: Step = ("begin", 1)
STRICT: Step = ("begin", 2)
SESSION: Step = ("session",)
DELIVER: Step = ("deliver", 1)
FAILS = NAMES.index("500")
LOST = NAMES.index("answer lost")
DENIED = NAMES.index("403")
TOO_MANY = NAMES.index("429 for long")
HISTORIES: Mapping[str, History] = {
    "answer_overtakes_its_session_when_the_retry_of_both_fails": [
        *(REPLAY, SESSION, ("answer", 0), ("refuse", 0, 0), DELIVER, ("heal_all",)),
        *(("fail", 0, FAILS), SESSION, ("retry_day",), DELIVER, SESSION, DELIVER, SESSION, DELIVER),
    ],
    "event_arrives_before_a_gateway_refuses_its_repeat": [
        *(STRICT, *[("bad_session", LOST, DENIED)] * 3, SESSION, SESSION, DELIVER),
        *(("heal_all",), ("wait", 3)),
    ],
    "endpoint_of_the_sessions_is_down_for_a_week": [
        *(REPLAY, SESSION, ("endpoint_fails", 0, FAILS), *[("wait", 4)] * 20, ("set_aside_stuck",)),
    ],
    "dead_letter_waits_behind_a_deferred_event": [
        *(REPLAY, SESSION, ("answer", 0), ("refuse", 0, 0), DELIVER, ("heal_all",)),
        *(("fail", 0, FAILS), SESSION, ("retry_day",), DELIVER, ("heal_all",), ("wait", 3)),
    ],
    "many_events_in_a_row_fail_with_batch": [
        *(BATCH, *[("bad_session", FAILS)] * 40, SESSION, SESSION, ("hours",)),
    ],
    "deferred_event_is_due": [
        *(REPLAY, ("bad_session", FAILS), SESSION, DELIVER, SESSION, DELIVER, ("wait", 3)),
    ],
    "answer_waits_behind_a_deferred_session": [
        *(BATCH, ("bad_session", FAILS), ("answer", 0), SESSION, ("deliver", 3), ("answer", 0)),
        DELIVER,
    ],
    "window_behind_a_deferred_session_holds_its_answer": [
        *(REPLAY, ("bad_session", FAILS), SESSION, SESSION, ("answer", 0), SESSION, ("hours",)),
    ],
    "answer_waits_behind_another_one": [
        *(REPLAY, SESSION, ("bad_answer", 0, FAILS), SESSION, DELIVER, ("answer", 0), DELIVER),
        *(("heal_all",), ("wait", 3)),
    ],
    "dead_letter_waits_behind_another_one_of_its_session": [
        *(REPLAY, SESSION, ("answer", 0), ("answer", 0), ("refuse", 0, 2), DELIVER, ("heal_all",)),
        *(("fail", 1, FAILS), SESSION, ("retry_day",), DELIVER, SESSION, DELIVER),
    ],
    "gateway_denies_one_event": [
        *(REPLAY, ("bad_session", DENIED), SESSION, ("hours",)),
    ],
    "clock_is_put_right_after_a_boot_in_1970": [
        *(REPLAY, ("boot_in_1970",), ("bad_session", FAILS), *[SESSION, ("wait", 3)] * 9),
        *(("put_clock_right",), SESSION, ("wait", 3), ("set_aside_stuck",)),
    ],
    "contents_fail_for_a_week_with_batch": [
        *(BATCH, ("contents_fail", FAILS), *[SESSION, ("deliver", 2), ("wait", 4)] * 16),
        ("set_aside_stuck",),
    ],
    "one_event_is_answered_429_by_what_is_before_head_office": [
        *(BATCH, ("bad_session", TOO_MANY), SESSION, ("hours",)),
    ],
    "event_is_answered_429_while_others_are_tried_again": [
        *(BATCH, ("bad_session", 4), ("bad_answer", 0, 2), ("bad_answer", 1, 8), ("deliver", 2)),
        *(("bad_session", 5), ("wait", 2), ("answer", 3), DELIVER, ("deliver", 2), ("week",)),
    ],
}
