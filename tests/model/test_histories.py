"""Regression tests: histories that once failed, found by the random test or by review."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import pytest

from sync.protocol.wire import EventType
from tests.model.test_delivery_model import (
    BatchMachine,
    DeliveryMachine,
    ReplayMachine,
    StrictReplayMachine,
)

M = TypeVar("M", bound=DeliveryMachine)


@contextmanager
def history(kind: type[M]) -> Iterator[M]:
    """Run the steps of the block, then check the invariants."""
    machine = kind()
    try:
        yield machine
        machine.no_acknowledged_capture_is_lost()
        machine.no_duplicate_at_central()
        machine.captures_arrive_in_order_per_session()
        machine.undelivered_answers_keep_their_address()
    finally:
        machine.teardown()


def refuse_session_and_answer_then_discard_session(machine: DeliveryMachine) -> None:
    """Let central refuse the only session and a new answer to it; discard the session."""
    machine.capture_answer(0)
    machine.refuse(0, None)
    machine.push([], probing=False)
    machine.decide_dead_letter(0, discarding=True)


def test_refused_answer_is_not_resent_after_a_later_one() -> None:
    """A retry a day later overwrote the customer's newer answer."""
    with history(ReplayMachine) as machine:
        machine.capture_session()
        machine.capture_answer(0)
        machine.refuse(0, EventType.EMAIL_ANSWERED)
        machine.push([], probing=False)
        machine.accept_all()
        machine.capture_answer(0)
        machine.push([], probing=False)
        machine.recover()


def test_dead_letter_retry_does_not_block_delivery_to_a_restored_head_office() -> None:
    """Head office reported the same gap in each pass."""
    with history(BatchMachine) as machine:
        machine.back_up()
        for _ in range(3):
            machine.capture_session()
        machine.refuse(2, None)
        machine.push([], probing=False)
        machine.restore()
        machine.capture_session()
        machine.accept_all()
        machine.retry_all()
        machine.push([], probing=False)
        assert machine.delivered_numbers() == [1, 2, 3, 4]


def test_dead_letter_that_always_fails_does_not_block_pending_events() -> None:
    with history(BatchMachine) as machine:
        machine.capture_session()
        machine.refuse(0, None)
        machine.push([], probing=False)
        machine.capture_session()
        machine.retry_all()
        machine.push(["failed", "failed", "failed"], probing=False)
        assert machine.delivered_numbers() == [2]


def test_address_delivered_ahead_of_a_stuck_event_is_erased() -> None:
    with history(StrictReplayMachine) as machine:
        for _ in range(2):
            machine.capture_session()
        machine.capture_answer(1)
        machine.push(["failed"], probing=True)
        assert machine.delivered_numbers() == [2, 3]
        machine.erase()


def test_crash_between_answer_and_settle_creates_no_duplicate() -> None:
    with history(StrictReplayMachine) as machine:
        for _ in range(2):
            machine.capture_session()
        machine.capture_answer(0)
        machine.crash_during_a_pass(1, served=True)
        machine.recover()
        assert sorted(machine.delivered_numbers()) == [1, 2, 3]


def test_answer_is_delivered_after_the_retry_of_its_session() -> None:
    """The answer was read before the delivery of its session was settled."""
    with history(StrictReplayMachine) as machine:
        machine.capture_session()
        machine.push(["too large"], probing=False)
        machine.capture_answer(0)
        machine.recover()


def test_crash_between_two_answers_of_a_session_resends_both_in_order() -> None:
    """Central has no sequence numbers, and the agent lost the results of the window."""
    with history(ReplayMachine) as machine:
        machine.capture_session()
        machine.recover()
        machine.capture_answer(0)
        machine.capture_answer(0)
        machine.crash_during_a_pass(1, served=True)
        machine.recover()
        assert machine.last_answers() == {"s1": 3}


def test_repeat_refused_by_a_proxy_keeps_the_event_in_doubt() -> None:
    """A 413 by a proxy is no evidence about the first attempt, whose response was lost."""
    with history(StrictReplayMachine) as machine:
        machine.capture_session()
        machine.push(["answer lost", "too large"], probing=False)
        machine.recover()


@pytest.mark.parametrize("kind", [BatchMachine, ReplayMachine, StrictReplayMachine])
def test_refused_answer_keeps_its_address_until_it_is_discarded_itself(
    kind: type[DeliveryMachine],
) -> None:
    """It can never be delivered, but only store IT may discard it."""
    with history(kind) as machine:
        machine.capture_session()
        refuse_session_and_answer_then_discard_session(machine)
        machine.recover()
        assert machine.answers_of_discarded_sessions() == {2}
        machine.decide_dead_letter(0, discarding=True)
        machine.erase()
        assert machine.is_finished()


def test_session_refused_by_a_restored_head_office_can_be_discarded() -> None:
    with history(BatchMachine) as machine:
        machine.back_up()
        machine.capture_session()
        machine.recover()
        machine.restore()
        refuse_session_and_answer_then_discard_session(machine)
        machine.recover()
        assert machine.answers_of_discarded_sessions() == {2}


def test_retried_dead_letter_is_resent_after_a_restore_of_head_office() -> None:
    """The backup has it as refused, so both sides have the same highest sequence."""
    with history(BatchMachine) as machine:
        machine.capture_session()
        machine.refuse(0, None)
        machine.crash_during_a_pass(0, served=True)
        machine.back_up()
        machine.recover()
        machine.restore()
        machine.recover()
