"""Ready and alive only after the writer has answered; stopping when it is over."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from sync.runtime.systemd.watching import give_signs, seconds_between_signs, watched
from tests.sync.systemd.manager import PATIENCE_SECONDS, Manager, manager_in

PID = 41
QUICK = {"WATCHDOG_USEC": "4000", "WATCHDOG_PID": str(PID)}


class Writer:
    """Answers as long as it does not hang; says when it was asked and not answered."""

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


async def test_a_service_is_ready_only_once_its_writer_has_answered(manager: Manager) -> None:
    writer = Writer()
    writer.hang()
    async with watched(writer.pulse, manager.environ | QUICK, PID):
        await writer.is_asked()
        assert manager.has_heard_nothing()
        writer.go_on()
        assert "READY=1" in await manager.hears()


async def test_a_writer_that_answers_is_said_to_be_alive_again_and_again(manager: Manager) -> None:
    async with watched(Writer().pulse, manager.environ | QUICK, PID):
        for _ in range(3):
            assert "WATCHDOG=1" in await manager.hears()


async def test_while_the_writer_hangs_no_sign_of_life_is_given() -> None:
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


async def test_a_writer_that_cannot_be_asked_gives_no_sign() -> None:
    writer, signs = Writer(), asyncio.Queue[str]()
    writer.can_be_asked = False
    watch = asyncio.create_task(give_signs(writer.pulse, signs.put_nowait, 0))
    for _ in range(100):
        await asyncio.sleep(0)
    assert signs.empty()
    writer.can_be_asked = True
    await asyncio.wait_for(signs.get(), PATIENCE_SECONDS)
    watch.cancel()


async def test_the_end_is_announced(manager: Manager) -> None:
    async with watched(Writer().pulse, manager.environ, PID):
        assert "READY=1" in await manager.hears()
    assert await manager.hears() == ["STOPPING=1"]


async def test_without_a_manager_the_writer_is_not_asked() -> None:
    writer = Writer()
    async with watched(writer.pulse, {}, PID):
        await asyncio.sleep(0)
    assert not writer.asked.is_set()


@pytest.mark.parametrize("patience_us", [1_000_000, 30_000_000, 86_400_000_000])
def test_signs_come_at_least_twice_as_often_as_systemd_asks(patience_us: int) -> None:
    seconds = seconds_between_signs({"WATCHDOG_USEC": str(patience_us)}, PID)
    assert 0 < seconds <= patience_us / 1e6 / 2


def test_a_watchdog_for_another_process_is_not_ours() -> None:
    environ = {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": str(PID + 1)}
    assert seconds_between_signs(environ, PID) == seconds_between_signs({}, PID)


def test_a_watchdog_time_that_is_no_number_is_as_none() -> None:
    assert seconds_between_signs({"WATCHDOG_USEC": "soon"}, PID) == seconds_between_signs({}, PID)
