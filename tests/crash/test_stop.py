"""SIGTERM answers requests in progress; a failed start sets the exit code and names its reason."""

import asyncio
import os
import signal
import socket
from pathlib import Path

import pytest

from tests.support.agent.process import agent_process
from tests.support.till.crowd import Crowd
from tests.support.till.ledger import TillLedger
from tests.support.till.requests import Requests, fresh_pair, read_response, send_request

pytestmark = pytest.mark.process

STOP_SECONDS = 5.0
TILLS = 16
REQUESTS = Requests("127.0.0.1", 0)


async def test_stop_under_load_answers_every_recorded_capture(tmp_path: Path) -> None:
    """Recorded and answered captures are the same set: no request in progress is dropped."""
    ledger = TillLedger()
    async with agent_process(tmp_path / "state") as child:
        crowd = Crowd(
            "127.0.0.1",
            await child.ready(),
            pairs=ledger.customers(),
            on_acknowledged=ledger.acknowledge,
            on_refused=ledger.refuse,
        )
        await crowd.open(TILLS)
        await ledger.any_acknowledged.wait()
        assert await child.still_runs_after(0.2)
        child.terminate()
        assert await child.exit_code(STOP_SECONDS) == 0
        assert await crowd.finished(timeout_seconds=5)
    findings = ledger.compare(tmp_path / "state")
    assert not findings, findings
    assert ledger.unanswered(tmp_path / "state") == []
    assert not ledger.refused
    assert not crowd.failures


async def test_stop_is_not_delayed_by_idle_connection(tmp_path: Path) -> None:
    async with agent_process(tmp_path / "state") as child:
        reader, writer = await asyncio.open_connection("127.0.0.1", await child.ready())
        writer.write(REQUESTS.session(fresh_pair()))
        response = await read_response(reader)
        assert response is not None
        assert response.status == 200
        child.terminate()
        assert await child.exit_code(STOP_SECONDS) == 0
        assert await reader.read() == b""
        writer.close()


async def test_stop_is_not_delayed_by_incomplete_body(tmp_path: Path) -> None:
    async with agent_process(tmp_path / "state") as child:
        port = await child.ready()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(REQUESTS.session(fresh_pair())[:-10])
        # A second request in the same event loop: by now the first one has been read.
        assert (await send_request(port, REQUESTS.session(fresh_pair()))).status == 200
        child.terminate()
        assert await child.exit_code(STOP_SECONDS) == 0
        writer.close()
        await reader.read()


async def test_stopped_agent_leaves_no_wal_file(tmp_path: Path) -> None:
    async with agent_process(tmp_path / "state") as child:
        assert (
            await send_request(await child.ready(), REQUESTS.session(fresh_pair()))
        ).status == 200
        child.terminate()
        await child.exit_code(STOP_SECONDS)
    assert not (tmp_path / "state" / "agent.db-wal").exists()


async def test_second_agent_on_same_directory_names_the_first(tmp_path: Path) -> None:
    async with agent_process(tmp_path / "state") as first:
        port = await first.ready()
        async with agent_process(tmp_path / "state") as second:
            assert await second.exit_code() == 1
        reason = str((await second.wait_for_log("agent.not_started"))["reason"])
        assert f"process {first.pid}" in reason
        assert str(tmp_path / "state") in reason
        assert (await send_request(port, REQUESTS.session(fresh_pair()))).status == 200


async def test_agent_starts_after_previous_one_was_killed(tmp_path: Path) -> None:
    """The lock ends with the process, although its file remains."""
    async with agent_process(tmp_path / "state") as first:
        await first.ready()
        first.kill()
        await first.exit_code()
    async with agent_process(tmp_path / "state") as second:
        assert (
            await send_request(await second.ready(), REQUESTS.session(fresh_pair()))
        ).status == 200


async def test_port_in_use_is_named_in_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = {"LOYALTY_AGENT__API__PORT": str(port)}
        async with agent_process(tmp_path / "state", settings=settings) as child:
            assert await child.exit_code() == 1
    reason = str((await child.wait_for_log("agent.not_started"))["reason"])
    assert f"127.0.0.1:{port}" in reason
    assert "port" in reason


async def test_sigint_stops_agent(tmp_path: Path) -> None:
    async with agent_process(tmp_path / "state") as child:
        await child.ready()
        os.kill(child.pid, signal.SIGINT)
        assert await child.exit_code(STOP_SECONDS) == 0
