"""The agent under systemd: a socket that outlives it, and readiness notifications."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.agent.process import AGENT, AgentProcess, agent_process
from tests.support.notify_socket import Manager, manager_in
from tests.support.patience import PATIENCE_SECONDS
from tests.support.till.ledger import TillLedger
from tests.support.till.reconnecting import ReconnectingTills
from tests.support.till.requests import Requests, fresh_pair, send_request

pytestmark = pytest.mark.process

STOP_SECONDS = 5.0
TILLS = 8
RESTARTS = 3
REQUESTS = Requests("127.0.0.1", 0)
# Does the work of systemd between fork and exec: passes the sockets from descriptor 3 on.
_HAND_OVER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.fixture
def tills_socket() -> Iterator[socket.socket]:
    """Listen as systemd does, during the test."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        yield listening


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """Receive a service's notifications."""
    with manager_in(tmp_path) as listening:
        yield listening


@asynccontextmanager
async def handed(directory: Path, listening: socket.socket) -> AsyncIterator[AgentProcess]:
    """Run an agent with an inherited socket."""
    descriptor = listening.fileno()
    async with agent_process(
        directory,
        program=(sys.executable, "-c", _HAND_OVER, str(descriptor), *AGENT),
        descriptors=(descriptor,),
    ) as child:
        yield child


def port_of(listening: socket.socket) -> int:
    return int(listening.getsockname()[1])


async def test_request_sent_before_agent_starts_is_answered_once_it_runs(
    tmp_path: Path, tills_socket: socket.socket
) -> None:
    waiting = asyncio.create_task(
        send_request(port_of(tills_socket), REQUESTS.session(fresh_pair()))
    )
    async with handed(tmp_path / "state", tills_socket) as child:
        assert await child.ready() == port_of(tills_socket)
        assert (await waiting).status == 200


async def test_restarts_under_load_refuse_and_lose_nothing(
    tmp_path: Path, tills_socket: socket.socket
) -> None:
    ledger = TillLedger()
    tills = ReconnectingTills(
        "127.0.0.1",
        port_of(tills_socket),
        ledger.customers(),
        ledger.acknowledge,
        ledger.refuse,
    )
    tills.start(TILLS)
    for _ in range(RESTARTS):
        async with handed(tmp_path / "state", tills_socket) as child:
            await child.ready()
            ledger.any_acknowledged.clear()
            await asyncio.wait_for(ledger.any_acknowledged.wait(), PATIENCE_SECONDS)
            child.terminate()
            assert await child.exit_code(STOP_SECONDS) == 0
    async with handed(tmp_path / "state", tills_socket):
        await tills.stop()
    assert tills.connection_errors == []
    assert tills.unanswered == []
    assert ledger.refused == []
    findings = ledger.compare(tmp_path / "state")
    assert not findings, findings


async def test_ready_and_stopping_are_notified(tmp_path: Path, manager: Manager) -> None:
    async with agent_process(tmp_path / "state", settings=manager.environ) as child:
        assert "READY=1" in await manager.hears()
        child.terminate()
        await manager.hears_at_last("STOPPING=1")
        assert await child.exit_code(STOP_SECONDS) == 0


async def test_inherited_socket_open_to_network_is_refused_without_token(tmp_path: Path) -> None:
    with socket.create_server(("0.0.0.0", 0)) as wide:  # noqa: S104 - this test needs it
        async with handed(tmp_path / "state", wide) as child:
            assert await child.exit_code() == 1
    assert "api.token_file" in str((await child.wait_for_log("agent.not_started"))["reason"])
