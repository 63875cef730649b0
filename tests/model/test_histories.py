"""Histories that went wrong once, step by step; found by chance or by thinking, kept for good."""

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
    """Run the steps of the block, and then what must hold."""
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
    """Have the only session refused with a new answer to it; store IT discards the session."""
    shop.capture_answer(0)
    shop.refuse(0, None)
    shop.push([], probing=False)
    shop.decide(0, discarding=True)


def test_answer_that_was_refused_is_not_sent_after_a_later_one() -> None:
    """Tried again a day later, it undid what the customer had said since."""
    with history(ReplayMachine) as shop:
        shop.capture_session()
        shop.capture_answer(0)
        shop.refuse(0, EventType.EMAIL_ANSWERED)
        shop.push([], probing=False)
        shop.relent()
        shop.capture_answer(0)
        shop.push([], probing=False)
        shop.all_heals()


def test_dead_letter_to_try_again_does_not_block_the_way_to_a_restored_head_office() -> None:
    """Head office expected what came before it, at each pass anew."""
    with history(BatchMachine) as shop:
        shop.back_up()
        for _ in range(3):
            shop.capture_session()
        shop.refuse(2, None)
        shop.push([], probing=False)
        shop.restore()
        shop.capture_session()
        shop.relent()
        shop.retry_all()
        shop.push([], probing=False)
        assert shop.numbers_there() == [1, 2, 3, 4]


def test_dead_letter_that_always_fails_does_not_hold_up_what_waits() -> None:
    with history(BatchMachine) as shop:
        shop.capture_session()
        shop.refuse(0, None)
        shop.push([], probing=False)
        shop.capture_session()
        shop.retry_all()
        shop.push(["failed", "failed", "failed"], probing=False)
        assert shop.numbers_there() == [2]


def test_address_delivered_ahead_of_an_event_that_is_stuck_is_erased() -> None:
    with history(StrictReplayMachine) as shop:
        for _ in range(2):
            shop.capture_session()
        shop.capture_answer(1)
        shop.push(["failed"], probing=True)
        assert shop.numbers_there() == [2, 3]
        shop.erase()


def test_killed_between_answer_and_settling_nothing_is_there_twice() -> None:
    with history(StrictReplayMachine) as shop:
        for _ in range(2):
            shop.capture_session()
        shop.capture_answer(0)
        shop.crash_in_mid_pass(1, served=True)
        shop.all_heals()
        assert sorted(shop.numbers_there()) == [1, 2, 3]


def test_answer_to_a_session_that_was_refused_until_just_now_is_delivered_with_it() -> None:
    """It was read before it was on the disk that its session had been delivered after all."""
    with history(StrictReplayMachine) as shop:
        shop.capture_session()
        shop.push(["too large"], probing=False)
        shop.capture_answer(0)
        shop.all_heals()


def test_killed_among_two_answers_of_a_session_both_come_again_and_the_last_one_counts() -> None:
    """Central has no numbers to tell by, and the agent not what it learned just before."""
    with history(ReplayMachine) as shop:
        shop.capture_session()
        shop.all_heals()
        shop.capture_answer(0)
        shop.capture_answer(0)
        shop.crash_in_mid_pass(1, served=True)
        shop.all_heals()
        assert shop.last_answers() == {"s1": 3}


def test_a_repeat_that_something_on_the_way_refused_may_still_have_arrived_before() -> None:
    """What is too large for a proxy says nothing of the first try, whose answer was lost."""
    with history(StrictReplayMachine) as shop:
        shop.capture_session()
        shop.push(["answer lost", "too large"], probing=False)
        shop.all_heals()


@pytest.mark.parametrize("kind", [BatchMachine, ReplayMachine, StrictReplayMachine])
def test_refused_answer_to_a_session_that_was_given_up_keeps_its_address_until_it_is_too(
    kind: type[DeliveryMachine],
) -> None:
    """It can never arrive, and that is for somebody to decide, not for the agent."""
    with history(kind) as shop:
        shop.capture_session()
        refuse_with_an_answer_and_give_up_the_session(shop)
        shop.all_heals()
        assert shop.answers_without_a_session() == {2}
        shop.decide(0, discarding=True)
        shop.erase()
        assert shop.is_whole()


def test_session_that_a_restored_head_office_refuses_can_be_given_up() -> None:
    with history(BatchMachine) as shop:
        shop.back_up()
        shop.capture_session()
        shop.all_heals()
        shop.restore()
        refuse_with_an_answer_and_give_up_the_session(shop)
        shop.all_heals()
        assert shop.answers_without_a_session() == {2}


def test_what_was_refused_until_just_now_is_sent_again_to_a_head_office_that_fell_back() -> None:
    """The backup has it as refused, so that the highest number there is the same as here."""
    with history(BatchMachine) as shop:
        shop.capture_session()
        shop.refuse(0, None)
        shop.crash_in_mid_pass(0, served=True)
        shop.back_up()
        shop.all_heals()
        shop.restore()
        shop.all_heals()
