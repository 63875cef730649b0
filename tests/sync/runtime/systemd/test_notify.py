"""systemd notifications: ready and alive only after a response of the store, then stopping."""

import asyncio
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from sync.runtime.systemd.notify import (
    READY,
    keepalive_seconds,
    notify,
    send_keepalives,
    systemd_notified,
)
from tests.support.notify_socket import Manager, manager_in
from tests.support.patience import PATIENCE_SECONDS

PID = 41
QUICK = {"WATCHDOG_USEC": "4000", "WATCHDOG_PID": str(PID)}


class FakeWriter:
    """Fake writer: responds unless it hangs; `pinged` is set by each probe."""

    def __init__(self) -> None:
        self.is_reachable = True
        self.pinged = asyncio.Event()
        self._free = asyncio.Event()
        self._free.set()

    async def ping(self) -> bool:
        self.pinged.set()
        await self._free.wait()
        return self.is_reachable

    async def is_pinged(self) -> None:
        await asyncio.wait_for(self.pinged.wait(), PATIENCE_SECONDS)

    def hang(self) -> None:
        self._free.clear()
        self.pinged.clear()

    def go_on(self) -> None:
        self._free.set()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """Listen for notifications."""
    with manager_in(tmp_path) as listening:
        yield listening


async def test_notification_reaches_the_service_manager(manager: Manager) -> None:
    assert notify(READY, manager.environ)
    assert await manager.hears() == ["READY=1"]


def test_without_a_service_manager_nothing_is_sent() -> None:
    assert not notify(READY, {})


def test_missing_notify_socket_is_no_error(tmp_path: Path) -> None:
    assert not notify(READY, {"NOTIFY_SOCKET": str(tmp_path / "gone")})


def test_abstract_notify_socket_is_supported() -> None:
    """systemd may use one; in the environment its name starts with @."""
    name = f"loyalty-agent-{uuid.uuid4()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as listening:
        listening.bind(f"\0{name}")
        assert notify(READY, {"NOTIFY_SOCKET": f"@{name}"})
        assert listening.recv(64) == b"READY=1"


def test_notify_never_blocks_on_a_busy_service_manager(manager: Manager) -> None:
    """Once the queue of the socket is full, messages are dropped."""
    told = [notify(READY, manager.environ) for _ in range(10_000)]
    assert told[0]
    assert not told[-1]


async def test_service_is_ready_only_after_its_writer_has_responded(manager: Manager) -> None:
    writer = FakeWriter()
    writer.hang()
    async with systemd_notified(writer.ping, manager.environ | QUICK, PID):
        await writer.is_pinged()
        assert manager.has_heard_nothing()
        writer.go_on()
        assert "READY=1" in await manager.hears()


async def test_keep_alives_are_sent_while_the_writer_responds(manager: Manager) -> None:
    async with systemd_notified(FakeWriter().ping, manager.environ | QUICK, PID):
        for _ in range(3):
            assert "WATCHDOG=1" in await manager.hears()


async def test_no_keep_alive_is_sent_while_the_writer_hangs() -> None:
    writer, sent = FakeWriter(), asyncio.Queue[str]()
    watch = asyncio.create_task(send_keepalives(writer.ping, sent.put_nowait, 0))
    await asyncio.wait_for(sent.get(), PATIENCE_SECONDS)
    writer.hang()
    await writer.is_pinged()
    while not sent.empty():
        sent.get_nowait()
    for _ in range(100):
        await asyncio.sleep(0)
    assert sent.empty()
    watch.cancel()


async def test_no_keep_alive_is_sent_while_the_writer_is_unreachable() -> None:
    writer, sent = FakeWriter(), asyncio.Queue[str]()
    writer.is_reachable = False
    watch = asyncio.create_task(send_keepalives(writer.ping, sent.put_nowait, 0))
    for _ in range(100):
        await asyncio.sleep(0)
    assert sent.empty()
    writer.is_reachable = True
    await asyncio.wait_for(sent.get(), PATIENCE_SECONDS)
    watch.cancel()


async def test_stopping_is_sent_at_the_end(manager: Manager) -> None:
    async with systemd_notified(FakeWriter().ping, manager.environ, PID):
        assert "READY=1" in await manager.hears()
    assert await manager.hears() == ["STOPPING=1"]


async def test_writer_is_not_probed_without_a_service_manager() -> None:
    writer = FakeWriter()
    async with systemd_notified(writer.ping, {}, PID):
        await asyncio.sleep(0)
    assert not writer.pinged.is_set()


@pytest.mark.parametrize("timeout_us", [1_000_000, 30_000_000, 86_400_000_000])
def test_keep_alive_interval_is_at_most_half_the_watchdog_timeout(timeout_us: int) -> None:
    seconds = keepalive_seconds({"WATCHDOG_USEC": str(timeout_us)}, PID)
    assert 0 < seconds <= timeout_us / 1e6 / 2


def test_watchdog_of_another_process_is_ignored() -> None:
    environ = {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": str(PID + 1)}
    assert keepalive_seconds(environ, PID) == keepalive_seconds({}, PID)


@pytest.mark.parametrize("timeout_us", ["soon", "0", "-1"])
def test_invalid_watchdog_timeout_is_ignored(timeout_us: str) -> None:
    assert keepalive_seconds({"WATCHDOG_USEC": timeout_us}, PID) == keepalive_seconds({}, PID)
