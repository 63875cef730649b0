"""sd_notify: one datagram, and no error without a service manager."""

import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from sync.runtime.systemd.notify import READY, notify
from tests.support.notify_socket import Manager, manager_in


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
