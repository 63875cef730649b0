"""Watchdog: ready and alive only after a response of the writer, stopping at the end."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from sync.runtime.systemd.watching import give_signs, seconds_between_signs, watched
from tests.support.notify_socket import PATIENCE_SECONDS, Manager, manager_in

PID = 41
QUICK = {"WATCHDOG_USEC": "4000", "WATCHDOG_PID": str(PID)}


class Writer:
    """Fake writer: responds unless it hangs; `asked` is set by each probe."""

    def __init__(self) -> None:
        self.can_be_asked = True
        self.asked = asyncio.Event()
        self._free = asyncio.Event()
        self._free.set()

    async def pulse(self) -> bool:
        self.asked.set()
        await self._free.wait()
        return self.can_be_asked

    async def is_asked(self) -> None:
        await asyncio.wait_for(self.asked.wait(), PATIENCE_SECONDS)

    def hang(self) -> None:
        self._free.clear()
        self.asked.clear()

    def go_on(self) -> None:
        self._free.set()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """Listen for notifications."""
    with manager_in(tmp_path) as listening:
        yield listening


async def test_service_is_ready_only_after_its_writer_has_responded(manager: Manager) -> None:
    writer = Writer()
    writer.hang()
    async with watched(writer.pulse, manager.environ | QUICK, PID):
        await writer.is_asked()
        assert manager.has_heard_nothing()
        writer.go_on()
        assert "READY=1" in await manager.hears()


async def test_keep_alives_are_sent_while_the_writer_responds(manager: Manager) -> None:
    async with watched(Writer().pulse, manager.environ | QUICK, PID):
        for _ in range(3):
            assert "WATCHDOG=1" in await manager.hears()


async def test_no_keep_alive_is_sent_while_the_writer_hangs() -> None:
    writer, signs = Writer(), asyncio.Queue[str]()
    watch = asyncio.create_task(give_signs(writer.pulse, signs.put_nowait, 0))
    await asyncio.wait_for(signs.get(), PATIENCE_SECONDS)
    writer.hang()
    await writer.is_asked()
    while not signs.empty():
        signs.get_nowait()
    for _ in range(100):
        await asyncio.sleep(0)
    assert signs.empty()
    watch.cancel()


async def test_no_keep_alive_is_sent_while_the_writer_is_unreachable() -> None:
    writer, signs = Writer(), asyncio.Queue[str]()
    writer.can_be_asked = False
    watch = asyncio.create_task(give_signs(writer.pulse, signs.put_nowait, 0))
    for _ in range(100):
        await asyncio.sleep(0)
    assert signs.empty()
    writer.can_be_asked = True
    await asyncio.wait_for(signs.get(), PATIENCE_SECONDS)
    watch.cancel()


async def test_stopping_is_sent_at_the_end(manager: Manager) -> None:
    async with watched(Writer().pulse, manager.environ, PID):
        assert "READY=1" in await manager.hears()
    assert await manager.hears() == ["STOPPING=1"]


async def test_writer_is_not_probed_without_a_service_manager() -> None:
    writer = Writer()
    async with watched(writer.pulse, {}, PID):
        await asyncio.sleep(0)
    assert not writer.asked.is_set()


@pytest.mark.parametrize("patience_us", [1_000_000, 30_000_000, 86_400_000_000])
def test_keep_alive_interval_is_at_most_half_the_watchdog_timeout(patience_us: int) -> None:
    seconds = seconds_between_signs({"WATCHDOG_USEC": str(patience_us)}, PID)
    assert 0 < seconds <= patience_us / 1e6 / 2


def test_watchdog_of_another_process_is_ignored() -> None:
    environ = {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": str(PID + 1)}
    assert seconds_between_signs(environ, PID) == seconds_between_signs({}, PID)


def test_invalid_watchdog_timeout_is_ignored() -> None:
    assert seconds_between_signs({"WATCHDOG_USEC": "soon"}, PID) == seconds_between_signs({}, PID)
