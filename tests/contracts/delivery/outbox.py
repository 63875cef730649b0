"""Contract suite of the port `sync.delivery.outbox.Outbox`.

The test class of each implementation inherits `OutboxContract` and provides a fixture `harness`;
the outbox of the fleet simulation, which never has dead letters, inherits `WindowContract`.
"""

from collections.abc import Sequence
from typing import Protocol

import pytest

from sync.delivery.outbox import (
    BatchLimits,
    EventResult,
    Outbox,
    OutboxEvent,
    OutboxUnavailable,
    Window,
)
from sync.delivery.outcomes import Refused
from tests.support.agent.outbox import judged

PLENTY = BatchLimits(events=100, max_bytes=2**30)
REFUSED = Refused("CODE", "a reason", 400)
UNKNOWN = Window("an epoch of another file", 1, ())


class OutboxHarness(Protocol):
    """An outbox with the operations that a pass does not have."""

    @property
    def outbox(self) -> Outbox:
        """The outbox under test."""

    async def capture_sessions(self, count: int) -> None:
        """Add `count` sessions; the first one gets position 1."""

    async def request_retry(self, sequence: int) -> None:
        """Mark the dead letter with this sequence of the current epoch for retry."""


async def waiting(harness: OutboxHarness) -> list[int]:
    return positions(await harness.outbox.next_window(PLENTY))


async def retries(harness: OutboxHarness) -> list[int]:
    return positions(await harness.outbox.next_retry_window(PLENTY))


def positions(window: Window) -> list[int]:
    return [event.position for event in window.events]


async def settle(harness: OutboxHarness, window: Window, *delivered: OutboxEvent) -> None:
    await harness.outbox.settle(window, judged(delivered))


async def refuse(harness: OutboxHarness, window: Window, events: Sequence[OutboxEvent]) -> None:
    await harness.outbox.settle(window, [EventResult(event, REFUSED) for event in events])


class WindowContract:
    """Windows of pending events. Each test starts with five sessions at the positions 1 to 5."""

    @pytest.fixture(autouse=True)
    async def five_sessions(self, harness: OutboxHarness) -> None:
        await harness.capture_sessions(5)

    async def test_read_returns_pending_events_in_order_up_to_the_limit(
        self, harness: OutboxHarness
    ) -> None:
        assert positions(await harness.outbox.next_window(BatchLimits(3, 2**30))) == [1, 2, 3]
        assert positions(await harness.outbox.next_window(BatchLimits(3, 2**30), after=3)) == [4, 5]

    async def test_read_returns_one_event_above_the_size_limit(
        self, harness: OutboxHarness
    ) -> None:
        assert positions(await harness.outbox.next_window(BatchLimits(3, 1))) == [1]

    async def test_read_returns_an_empty_window_at_the_end(self, harness: OutboxHarness) -> None:
        assert not (await harness.outbox.next_window(PLENTY, after=5)).events

    async def test_read_has_no_side_effect(self, harness: OutboxHarness) -> None:
        assert await waiting(harness) == await waiting(harness) == [1, 2, 3, 4, 5]

    async def test_window_settled_from_its_beginning_is_read_from_there(
        self, harness: OutboxHarness
    ) -> None:
        window = await harness.outbox.next_window(PLENTY)
        await settle(harness, window, *window.events[:2])
        assert await waiting(harness) == [3, 4, 5]


class OutboxContract(WindowContract):
    """The whole port."""

    async def test_window_has_epoch_and_sequences(self, harness: OutboxHarness) -> None:
        window = await harness.outbox.next_window(PLENTY)
        assert (window.epoch, window.base_sequence) == ("epoch-1", 1)
        assert [event.sequence for event in window.events] == [1, 2, 3, 4, 5]

    async def test_settled_events_are_no_longer_pending(self, harness: OutboxHarness) -> None:
        window = await harness.outbox.next_window(PLENTY)
        await settle(harness, window, window.events[1], window.events[3])
        assert await waiting(harness) == [1, 3, 5]

    async def test_settle_is_idempotent(self, harness: OutboxHarness) -> None:
        window = await harness.outbox.next_window(PLENTY)
        await settle(harness, window, *window.events[:2])
        await settle(harness, window, *window.events[:2])
        assert await waiting(harness) == [3, 4, 5]

    async def test_refused_event_is_retried_only_on_request(self, harness: OutboxHarness) -> None:
        window = await harness.outbox.next_window(PLENTY)
        await refuse(harness, window, window.events[1:3])
        assert await retries(harness) == []
        await harness.request_retry(3)
        assert (await waiting(harness), await retries(harness)) == ([1, 4, 5], [3])

    async def test_retry_carries_the_last_refusal(self, harness: OutboxHarness) -> None:
        window = await harness.outbox.next_window(PLENTY)
        await refuse(harness, window, window.events[:1])
        await harness.request_retry(1)
        (again,) = (await harness.outbox.next_retry_window(PLENTY)).events
        assert again.refusal == REFUSED

    async def test_retry_ends_with_its_verdict(self, harness: OutboxHarness) -> None:
        window = await harness.outbox.next_window(PLENTY)
        await refuse(harness, window, window.events[:2])
        for sequence in (1, 2):
            await harness.request_retry(sequence)
        one, two = (await harness.outbox.next_retry_window(PLENTY)).events
        await settle(harness, window, one)
        await refuse(harness, window, [two])
        assert await retries(harness) == []

    async def test_event_sent_without_an_answer_is_in_doubt(self, harness: OutboxHarness) -> None:
        window = await harness.outbox.next_window(PLENTY)
        await harness.outbox.record_attempt(window)
        one, two, *_ = window.events
        await harness.outbox.settle(window, judged([one]), [two])
        doubts = [e.is_doubtful for e in (await harness.outbox.next_window(PLENTY)).events]
        assert doubts == [True, False, False, False]

    async def test_refused_event_in_doubt_is_in_doubt_when_retried(
        self, harness: OutboxHarness
    ) -> None:
        window = await harness.outbox.next_window(PLENTY)
        await harness.outbox.record_attempt(window)
        one, two, *_ = window.events
        await harness.outbox.settle(window, [EventResult(e, REFUSED) for e in (one, two)], [two])
        for sequence in (1, 2):
            await harness.request_retry(sequence)
        again = (await harness.outbox.next_retry_window(PLENTY)).events
        assert [event.is_doubtful for event in again] == [False, True]

    async def test_unsettled_window_is_in_doubt_as_a_whole(self, harness: OutboxHarness) -> None:
        await harness.outbox.record_attempt(await harness.outbox.next_window(BatchLimits(2, 2**30)))
        doubts = [e.is_doubtful for e in (await harness.outbox.next_window(PLENTY)).events]
        assert doubts == [True, True, False, False, False]

    async def test_rewind_makes_later_events_pending(self, harness: OutboxHarness) -> None:
        window = await harness.outbox.next_window(PLENTY)
        await settle(harness, window, *window.events)
        assert await harness.outbox.rewind("epoch-1", 3)
        assert await waiting(harness) == [3, 4, 5]

    @pytest.mark.parametrize(
        ("epoch", "expected"), [("epoch-1", 3), ("epoch-1", 6), (UNKNOWN.epoch, 1)]
    )
    async def test_rewind_returns_false_without_newly_pending_events(
        self, harness: OutboxHarness, epoch: str, expected: int
    ) -> None:
        window = await harness.outbox.next_window(PLENTY)
        await settle(harness, window, *window.events[:2])
        assert not await harness.outbox.rewind(epoch, expected)
        assert await waiting(harness) == [3, 4, 5]

    async def test_rewound_dead_letter_is_pending_and_not_a_retry(
        self, harness: OutboxHarness
    ) -> None:
        window = await harness.outbox.next_window(PLENTY)
        await settle(harness, window, *window.events[:3])
        await refuse(harness, window, window.events[3:])
        await harness.request_retry(4)
        await harness.outbox.rewind("epoch-1", 2)
        assert (await waiting(harness), await retries(harness)) == ([2, 3, 4, 5], [])

    async def test_renumber_moves_later_events_into_an_epoch_starting_at_one(
        self, harness: OutboxHarness
    ) -> None:
        await harness.outbox.renumber("epoch-1", 3)
        first = await harness.outbox.next_window(PLENTY)
        second = await harness.outbox.next_window(PLENTY, after=3)
        assert (first.epoch, positions(first)) == ("epoch-1", [1, 2, 3])
        assert (second.epoch, [e.sequence for e in second.events]) == ("epoch-2", [1, 2])

    async def test_renumber_makes_moved_events_pending(self, harness: OutboxHarness) -> None:
        window = await harness.outbox.next_window(PLENTY)
        await settle(harness, window, *window.events)
        await harness.outbox.renumber("epoch-1", 3)
        assert await waiting(harness) == [4, 5]

    async def test_window_of_another_outbox_is_rejected(self, harness: OutboxHarness) -> None:
        events = (await harness.outbox.next_window(PLENTY)).events
        with pytest.raises(OutboxUnavailable):
            await harness.outbox.record_attempt(Window(UNKNOWN.epoch, 1, events))
        with pytest.raises(OutboxUnavailable):
            await settle(harness, UNKNOWN, *events)
        assert await waiting(harness) == [1, 2, 3, 4, 5]
