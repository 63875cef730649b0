"""Head office is asked by a heartbeat after each opening of the store, before the first batch."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.store.files.storage_errors import StorageDownError
from agent.store.store import Store
from agent.uplink.heartbeat_tries import HeartbeatTries
from agent.uplink.outbox_after_heartbeat import OutboxAfterHeartbeat
from sync.delivery.outbox import OutboxUnavailable, Window
from tests.support.agent.outbox import PLENTY, OutboxRig, judged, outbox_on
from tests.support.agent.store import session


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[OutboxRig]:
    async with outbox_on(tmp_path) as rig:
        await rig.capture(session("a"))
        yield rig


async def reopen(rig: OutboxRig) -> None:
    """Let the store fail once: it is closed and opened again."""

    def fail(_store: Store) -> None:
        raise StorageDownError("an I/O error")

    with pytest.raises(StorageDownError):
        await rig.writer.run(fail)


class Line:
    """Counts the heartbeats per opening; answers none."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    async def hear(self, opening: int) -> None:
        """Send a heartbeat that fails."""
        self.asked.append(opening)


async def one_pass(outbox: OutboxAfterHeartbeat, *, accepted: bool = False) -> Window:
    """Read and settle as a pass does; nothing is accepted unless `accepted`."""
    await outbox.next_retry_window(PLENTY)
    window = await outbox.next_window(PLENTY)
    results = judged(window.events) if accepted else []
    await outbox.settle(window, results)
    return await outbox.next_window(PLENTY, after=window.events[-1].position)


async def test_each_pass_asks_once_until_a_batch_is_accepted(rig: OutboxRig) -> None:
    """A head office that answers no heartbeat must not stop delivery, nor slow it for ever."""
    line = Line()
    outbox = OutboxAfterHeartbeat(rig.outbox, line.hear)

    await one_pass(outbox)
    await one_pass(outbox, accepted=True)
    await rig.capture(session("b"))
    await one_pass(outbox)

    assert line.asked == [1, 1]


async def test_pass_that_has_nothing_to_send_asks_nothing(tmp_path: Path) -> None:
    """An idle agent of a head office that is down sent a heartbeat more at each pass."""
    line = Line()
    async with outbox_on(tmp_path) as rig:
        await rig.outbox.dead_letters.retry_due()  # opens the store
        outbox = OutboxAfterHeartbeat(rig.outbox, line.hear)
        for _ in range(3):
            await outbox.next_retry_window(PLENTY)
            await outbox.next_window(PLENTY)
        asked_idle = list(line.asked)
        await rig.capture(session("a"))
        await outbox.next_window(PLENTY)

    assert (asked_idle, line.asked) == ([], [1])


async def test_accepted_batch_ends_the_wait_that_head_office_asked_heartbeats_for(
    rig: OutboxRig,
) -> None:
    accepted: list[bool] = []
    outbox = OutboxAfterHeartbeat(rig.outbox, Line().hear, lambda: accepted.append(True))

    await one_pass(outbox)
    before = list(accepted)
    await one_pass(outbox, accepted=True)

    assert (before, accepted) == ([], [True])


async def test_store_that_was_opened_again_is_asked_for_before_its_next_window(
    rig: OutboxRig,
) -> None:
    line = Line()
    outbox = OutboxAfterHeartbeat(rig.outbox, line.hear)
    await one_pass(outbox, accepted=True)
    await rig.capture(session("b"))

    await reopen(rig)
    window = await outbox.next_window(PLENTY)

    assert line.asked == [1, 2]
    assert [event.correlation_id for event in window.events] == ["b"]


async def test_window_read_before_the_store_was_opened_again_is_not_sent(rig: OutboxRig) -> None:
    asked: list[int] = []

    async def hear(opening: int) -> None:
        asked.append(opening)
        if opening < 3:
            await reopen(rig)

    outbox = OutboxAfterHeartbeat(rig.outbox, hear)

    assert len((await outbox.next_window(PLENTY)).events) == 1
    assert asked == [1, 2, 3]


async def test_closed_store_gives_no_window(rig: OutboxRig) -> None:
    outbox = OutboxAfterHeartbeat(rig.outbox, Line().hear)
    await rig.writer.close()

    with pytest.raises(OutboxUnavailable):
        await outbox.next_window(PLENTY)


async def test_waiting_for_a_heartbeat_ends_with_one_that_began_in_the_opening() -> None:
    tries = HeartbeatTries()
    waiting = asyncio.ensure_future(tries.ended(2))
    await asyncio.sleep(0)

    with tries.one(1):
        tries.note_answer()
    await asyncio.sleep(0)
    assert not waiting.done()
    assert not tries.has_answer(2)

    with pytest.raises(OSError, match="no line"), tries.one(2):
        raise OSError("no line")
    await waiting

    assert not tries.has_answer(2)


async def test_waiting_for_a_heartbeat_ends_when_the_store_is_closed() -> None:
    tries = HeartbeatTries()
    waiting = asyncio.ensure_future(tries.ended(2))
    await asyncio.sleep(0)

    with tries.one(None):
        pass

    await waiting


async def test_answered_heartbeat_is_not_asked_for_again() -> None:
    tries = HeartbeatTries()

    with tries.one(2):
        tries.note_answer()

    assert tries.has_answer(2)
    assert not tries.has_answer(3)
