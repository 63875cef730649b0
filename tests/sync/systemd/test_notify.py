"""One datagram to the service manager, and no trouble where there is none."""

import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from sync.runtime.systemd.notify import READY, notify
from tests.sync.systemd.manager import Manager, manager_in


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """Listen for notifications."""
    with manager_in(tmp_path) as listening:
        yield listening


async def test_what_is_notified_is_heard(manager: Manager) -> None:
    assert notify(READY, manager.environ)
    assert await manager.hears() == ["READY=1"]


def test_without_a_manager_nobody_is_told() -> None:
    assert not notify(READY, {})


def test_a_manager_that_is_gone_is_no_trouble(tmp_path: Path) -> None:
    assert not notify(READY, {"NOTIFY_SOCKET": str(tmp_path / "gone")})


def test_an_abstract_socket_is_found() -> None:
    """systemd may listen on one; its name begins with @ in the environment."""
    name = f"loyalty-agent-{uuid.uuid4()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as listening:
        listening.bind(f"\0{name}")
        assert notify(READY, {"NOTIFY_SOCKET": f"@{name}"})
        assert listening.recv(64) == b"READY=1"


def test_a_manager_that_does_not_listen_is_not_waited_for(manager: Manager) -> None:
    """Its queue is full sooner or later: then it is not told, and the loop goes on."""
    told = [notify(READY, manager.environ) for _ in range(10_000)]
    assert told[0]
    assert not told[-1]
