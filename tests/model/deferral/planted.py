"""Faults of deferral that were mended, to be planted again: the model must find each of them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from agent.export import backlog
from agent.store.outbox import outbox, settle, window_sql
from sync.delivery import delivery_pass
from sync.delivery.delivery_pass import DeliveryPass
from sync.delivery.outbox import EventResult, OutboxEvent, Window
from sync.delivery.outcomes import Blocked, RetryLater
from sync.delivery.transport import WindowResult
from sync.delivery.transports.batch import batch_transport
from sync.delivery.transports.batch.batch_transport import BatchTransport
from sync.delivery.transports.replay import replay_transport
from sync.delivery.transports.replay.replay_transport import ReplayTransport
from sync.delivery.transports.replay.window_run import WindowRun
from tests.model.whole.planted import Fault


def _answer_is_not_held_by_a_dead_session_whose_retry_failed(patch: pytest.MonkeyPatch) -> None:
    retries = window_sql.RETRIES
    for letter in ("dead_session", "earlier"):
        later = window_sql._IS_TRIED_LATER.format(letter)  # noqa: SLF001 - the planted fault needs it
        due = window_sql._IS_DUE.format(letter)  # noqa: SLF001 - see above
        assert later in retries
        deferred = f"{letter}.stuck_since_us IS NOT NULL AND NOT ({due})"
        retries = retries.replace(later, deferred)
    patch.setattr(outbox, "RETRIES", retries)


def _only_the_last_try_of_a_suspect_leaves_it_in_doubt(patch: pytest.MonkeyPatch) -> None:
    defer = DeliveryPass._defer  # noqa: SLF001 - the planted fault needs it

    async def defer_by_last(
        one: DeliveryPass, stopped: WindowResult, window: Window, *, others_passed: bool
    ) -> None:
        doubtful = [
            suspect.event
            for suspect in stopped.suspects
            if suspect.event.is_doubtful
            or (isinstance(suspect.failure, RetryLater) and suspect.failure.may_have_arrived)
        ]
        stopped = replace(stopped, doubtful=doubtful)
        await defer(one, stopped, window, others_passed=others_passed)

    patch.setattr(DeliveryPass, "_defer", defer_by_last)


def _days_count_while_nothing_passes(patch: pytest.MonkeyPatch) -> None:
    _replace(patch, settle, "ADD_DEFERRED", ":others_passed", "TRUE")


def _waiting_dead_letter_is_not_retried_any_more(patch: pytest.MonkeyPatch) -> None:
    kept = "iif(stuck_since_us IS NULL, retry_wanted, excluded.retry_wanted)"
    _replace(patch, settle, "ADD_DEFERRED", kept, "excluded.retry_wanted")


def _each_bad_event_of_a_row_takes_three_passes(patch: pytest.MonkeyPatch) -> None:
    may_be_its_own = BatchTransport._may_be_its_own  # noqa: SLF001 - the planted fault needs it

    def without_row(
        transport: BatchTransport, window: Window, part: Sequence[OutboxEvent], why: RetryLater
    ) -> bool:
        transport._has_number_passed = False  # noqa: SLF001 - see above
        return may_be_its_own(transport, window, part, why)

    patch.setattr(BatchTransport, "_may_be_its_own", without_row)


def _deferred_event_is_sent_three_times(patch: pytest.MonkeyPatch) -> None:
    send = ReplayTransport._send_event  # noqa: SLF001 - the planted fault needs it

    async def send_often(transport: ReplayTransport, run: WindowRun, event: OutboxEvent) -> object:
        return await send(transport, run, replace(event, attempts=0))

    patch.setattr(ReplayTransport, "_send_event", send_often)


def _export_lacks_what_waits(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(backlog, "UNDELIVERED_APART", window_sql.RETRIES)


def _answers_of_a_deferred_session_are_dead_letters(patch: pytest.MonkeyPatch) -> None:
    def as_they_are(
        _before: Sequence[EventResult], some: Sequence[EventResult]
    ) -> Sequence[EventResult]:
        return some

    patch.setattr(batch_transport, "_waiting_behind", as_they_are)


def _window_behind_a_deferred_event_is_read_before_it_is_settled(
    patch: pytest.MonkeyPatch,
) -> None:
    def is_never(_window: Window, _result: WindowResult) -> bool:
        return True

    patch.setattr(delivery_pass, "_is_all_delivered", is_never)


def _one_event_denied_holds_the_others(patch: pytest.MonkeyPatch) -> None:
    def is_never(_failure: Blocked | RetryLater) -> bool:
        return False

    for module in (batch_transport, replay_transport):
        patch.setattr(module, "may_be_about_an_event", is_never)


def _what_waits_behind_a_verdict_is_not_released(patch: pytest.MonkeyPatch) -> None:
    _replace(patch, settle, "RELEASE_WAITING", "SET retry_wanted = 1", "SET retry_wanted = 0")


def _a_set_clock_makes_days_pass(patch: pytest.MonkeyPatch) -> None:
    _replace(patch, settle, "ADD_DEFERRED", "43200000000", "9000000000000000000")


def _bare_numbers_count_as_others(patch: pytest.MonkeyPatch) -> None:
    may_be_its_own = BatchTransport._may_be_its_own  # noqa: SLF001 - the planted fault needs it

    def as_if_passed(
        transport: BatchTransport, window: Window, part: Sequence[OutboxEvent], why: RetryLater
    ) -> bool:
        transport._others_passed = True  # noqa: SLF001 - see above
        return may_be_its_own(transport, window, part, why)

    patch.setattr(BatchTransport, "_may_be_its_own", as_if_passed)


def _replace(patch: pytest.MonkeyPatch, module: object, name: str, mended: str, fault: str) -> None:
    sql = str(getattr(module, name))
    assert mended in sql
    patch.setattr(module, name, sql.replace(mended, fault))


FAULTS: Mapping[str, Fault] = {
    "an answer overtakes its session when the retry of both fails": Fault(
        _answer_is_not_held_by_a_dead_session_whose_retry_failed,
        "answer_overtakes_its_session_when_the_retry_of_both_fails",
    ),
    "only the last try of a suspect leaves it in doubt": Fault(
        _only_the_last_try_of_a_suspect_leaves_it_in_doubt,
        "event_arrives_before_a_gateway_refuses_its_repeat",
    ),
    "days count until an event is set aside while nothing passes": Fault(
        _days_count_while_nothing_passes, "endpoint_of_the_sessions_is_down_for_a_week"
    ),
    "a dead letter that waits behind another one is not retried any more": Fault(
        _waiting_dead_letter_is_not_retried_any_more,
        "dead_letter_waits_behind_another_one_of_its_session",
    ),
    "each event of a row on which head office fails takes three passes": Fault(
        _each_bad_event_of_a_row_takes_three_passes, "many_events_in_a_row_fail_with_batch"
    ),
    "a deferred event is sent three times when it is due": Fault(
        _deferred_event_is_sent_three_times, "deferred_event_is_due"
    ),
    "an export lacks what waits behind a deferred event": Fault(
        _export_lacks_what_waits, "answer_waits_behind_a_deferred_session"
    ),
    "answers of a deferred session become dead letters": Fault(
        _answers_of_a_deferred_session_are_dead_letters, "answer_waits_behind_a_deferred_session"
    ),
    "the window behind a deferred event is read before that is settled": Fault(
        _window_behind_a_deferred_event_is_read_before_it_is_settled,
        "window_behind_a_deferred_session_holds_its_answer",
    ),
    "one event that a gateway denies holds the others": Fault(
        _one_event_denied_holds_the_others, "gateway_denies_one_event"
    ),
    "what waits behind an event is not released by its verdict": Fault(
        _what_waits_behind_a_verdict_is_not_released, "answer_waits_behind_another_one"
    ),
    "time that only a set clock tells of counts until an event is set aside": Fault(
        _a_set_clock_makes_days_pass, "clock_is_put_right_after_a_boot_in_1970"
    ),
    "bare numbers that pass count as other events": Fault(
        _bare_numbers_count_as_others, "contents_fail_for_a_week_with_batch"
    ),
}
