"""Settings and fixtures for all end-to-end tests."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.agent.unit import Unit
from tests.support.notify_socket import manager_in


@pytest.fixture(autouse=True)
def brief_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the pauses for tills; their length is asserted in the tests of the throttle."""
    monkeypatch.setattr("sync.delivery.throttle.TILLS_PAUSE_SECONDS", 0.1)


@pytest.fixture
def unit(tmp_path: Path) -> Iterator[Unit]:
    """Yield the agent as a service of systemd; each test starts it."""
    with (
        socket.create_server(("127.0.0.1", 0), backlog=64) as listening,
        manager_in(tmp_path) as manager,
    ):
        yield Unit(tmp_path, listening, manager)
