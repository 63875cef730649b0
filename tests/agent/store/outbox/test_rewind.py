"""A rewind sends everything again that is held, also what is left among purged events."""

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.agent.outbox import PLENTY, OutboxRig, judged, outbox_on
from tests.support.agent.store import EpochIds, session


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[OutboxRig]:
    """Run an outbox with six delivered sessions, of which the first and the fourth are purged."""
    async with outbox_on(tmp_path, epochs=EpochIds()) as rig:
        names = ("one", "two", "three", "four", "five", "six")
        await rig.capture(*map(session, names))
        await rig.deliver(*(await rig.window()).events)
        await rig.outbox.access.write_hot(purge_some)
        yield rig


def purge_some(connection: sqlite3.Connection) -> None:
    for table in ("event", "session"):
        connection.execute(f"DELETE FROM {table} WHERE position IN (1, 4)")  # noqa: S608 - fixed names
    connection.execute("UPDATE destination SET purged_through = 5")


async def retried(rig: OutboxRig) -> list[list[int]]:
    """Return the numbers of each window of dead letters to retry."""
    windows, after = [], 0
    while (window := await rig.outbox.next_retry_window(PLENTY, after=after)).events:
        windows.append([event.sequence for event in window.events])
        after = window.events[-1].position
    return windows


async def test_rewind_sends_what_is_left_among_purged_events_in_runs_without_holes(
    rig: OutboxRig,
) -> None:
    assert await rig.outbox.rewind("epoch-1", 1)
    assert await retried(rig) == [[2, 3], [5]]
    assert await rig.positions() == [6]


async def test_rewind_of_a_purged_epoch_sends_what_is_left_of_it_once(rig: OutboxRig) -> None:
    await rig.outbox.renumber("epoch-1", 5)
    assert await rig.outbox.rewind("epoch-1", 3)
    assert not await rig.outbox.rewind("epoch-1", 3)
    assert await retried(rig) == [[3], [5]]


async def test_event_that_was_sent_again_is_no_dead_letter_any_more(rig: OutboxRig) -> None:
    await rig.outbox.rewind("epoch-1", 1)
    window = await rig.outbox.next_retry_window(PLENTY)
    await rig.outbox.settle(window, judged(window.events))
    assert await retried(rig) == [[5]]


async def test_discarded_dead_letter_is_not_sent_again(rig: OutboxRig) -> None:
    await rig.outbox.rewind("epoch-1", 1)
    await rig.outbox.dead_letters.discard("epoch-1", 3)
    await rig.outbox.rewind("epoch-1", 1)
    assert await retried(rig) == [[2], [5]]
