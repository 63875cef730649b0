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
        machine.all_that_was_acknowledged_is_somewhere()
        machine.nothing_is_there_twice()
        machine.each_session_has_its_captures_in_order()
        machine.what_was_never_there_still_has_its_address()
    finally:
        machine.teardown()


def refuse_with_an_answer_and_give_up_the_session(shop: DeliveryMachine) -> None:
    """Let central refuse the only session and a new answer to it; discard the session."""
    shop.capture_answer(0)
    shop.refuse(0, None)
    shop.push([], probing=False)
    shop.decide(0, discarding=True)


def test_refused_answer_is_not_resent_after_a_later_one() -> None:
    """A retry a day later overwrote the customer's newer answer."""
    with history(ReplayMachine) as shop:
        shop.capture_session()
        shop.capture_answer(0)
        shop.refuse(0, EventType.EMAIL_ANSWERED)
        shop.push([], probing=False)
        shop.accept_all()
        shop.capture_answer(0)
        shop.push([], probing=False)
        shop.all_heals()


def test_dead_letter_retry_does_not_block_delivery_to_a_restored_head_office() -> None:
    """Head office reported the same gap in each pass."""
    with history(BatchMachine) as shop:
        shop.back_up()
        for _ in range(3):
            shop.capture_session()
        shop.refuse(2, None)
        shop.push([], probing=False)
        shop.restore()
        shop.capture_session()
        shop.accept_all()
        shop.retry_all()
        shop.push([], probing=False)
        assert shop.numbers_there() == [1, 2, 3, 4]


def test_dead_letter_that_always_fails_does_not_block_pending_events() -> None:
    with history(BatchMachine) as shop:
        shop.capture_session()
        shop.refuse(0, None)
        shop.push([], probing=False)
        shop.capture_session()
        shop.retry_all()
        shop.push(["failed", "failed", "failed"], probing=False)
        assert shop.numbers_there() == [2]


def test_address_delivered_ahead_of_a_stuck_event_is_erased() -> None:
    with history(StrictReplayMachine) as shop:
        for _ in range(2):
            shop.capture_session()
        shop.capture_answer(1)
        shop.push(["failed"], probing=True)
        assert shop.numbers_there() == [2, 3]
        shop.erase()


def test_crash_between_answer_and_settle_creates_no_duplicate() -> None:
    with history(StrictReplayMachine) as shop:
        for _ in range(2):
            shop.capture_session()
        shop.capture_answer(0)
        shop.crash_in_mid_pass(1, served=True)
        shop.all_heals()
        assert sorted(shop.numbers_there()) == [1, 2, 3]


def test_answer_is_delivered_after_the_retry_of_its_session() -> None:
    """The answer was read before the delivery of its session was settled."""
    with history(StrictReplayMachine) as shop:
        shop.capture_session()
        shop.push(["too large"], probing=False)
        shop.capture_answer(0)
        shop.all_heals()


def test_crash_between_two_answers_of_a_session_resends_both_in_order() -> None:
    """Central has no sequence numbers, and the agent lost the results of the window."""
    with history(ReplayMachine) as shop:
        shop.capture_session()
        shop.all_heals()
        shop.capture_answer(0)
        shop.capture_answer(0)
        shop.crash_in_mid_pass(1, served=True)
        shop.all_heals()
        assert shop.last_answers() == {"s1": 3}


def test_repeat_refused_by_a_proxy_keeps_the_event_in_doubt() -> None:
    """A 413 by a proxy is no evidence about the first attempt, whose response was lost."""
    with history(StrictReplayMachine) as shop:
        shop.capture_session()
        shop.push(["answer lost", "too large"], probing=False)
        shop.all_heals()


@pytest.mark.parametrize("kind", [BatchMachine, ReplayMachine, StrictReplayMachine])
def test_refused_answer_keeps_its_address_until_it_is_discarded_itself(
    kind: type[DeliveryMachine],
) -> None:
    """It can never be delivered, but only store IT may discard it."""
    with history(kind) as shop:
        shop.capture_session()
        refuse_with_an_answer_and_give_up_the_session(shop)
        shop.all_heals()
        assert shop.answers_without_a_session() == {2}
        shop.decide(0, discarding=True)
        shop.erase()
        assert shop.is_whole()


def test_session_refused_by_a_restored_head_office_can_be_discarded() -> None:
    with history(BatchMachine) as shop:
        shop.back_up()
        shop.capture_session()
        shop.all_heals()
        shop.restore()
        refuse_with_an_answer_and_give_up_the_session(shop)
        shop.all_heals()
        assert shop.answers_without_a_session() == {2}


def test_retried_dead_letter_is_resent_after_a_restore_of_head_office() -> None:
    """The backup has it as refused, so both sides have the same highest sequence."""
    with history(BatchMachine) as shop:
        shop.capture_session()
        shop.refuse(0, None)
        shop.crash_in_mid_pass(0, served=True)
        shop.back_up()
        shop.all_heals()
        shop.restore()
        shop.all_heals()
