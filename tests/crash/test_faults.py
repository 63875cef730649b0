"""A failing, hanging or full disk may make the agent refuse captures, but loses none."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from tests.crash.rounds import judge
from tests.support.agent.process import AGENT, AgentProcess, agent_process
from tests.support.faults.strace import injected, strace
from tests.support.patience import PATIENCE_SECONDS
from tests.support.processes import ProcessEndedError
from tests.support.till.crowd import Crowd
from tests.support.till.ledger import TillLedger
from tests.support.till.requests import Pair, Requests, fresh_pair, get, send_request

pytestmark = [pytest.mark.campaign, pytest.mark.process]
REQUESTS = Requests("127.0.0.1", 0)


def crowd_at(port: int, ledger: TillLedger, pairs: Iterator[Pair]) -> Crowd:
    """Create tills that report to the ledger."""
    return Crowd(
        "127.0.0.1",
        port,
        pairs=pairs,
        on_acknowledged=ledger.acknowledge,
        on_refused=ledger.refuse,
    )


@asynccontextmanager
async def faulty(directory: Path, fault: str) -> AsyncIterator[tuple[AgentProcess, int]]:
    """Run an agent, inject the fault once it is ready, and yield it with its port."""
    async with agent_process(directory) as child:
        port = await child.ready()
        async with injected(child.pid, fault):
            yield child, port


@pytest.mark.parametrize("number", range(1, 13))
async def test_crash_at_nth_sync_loses_no_acknowledged_capture(tmp_path: Path, number: int) -> None:
    ledger = TillLedger()
    async with faulty(tmp_path / "state", f"fdatasync:signal=SIGKILL:when={number}") as (
        child,
        port,
    ):
        crowd = crowd_at(port, ledger, ledger.customers())
        await crowd.open(4)
        assert await child.exit_code() == -9
        assert await crowd.finished(timeout_seconds=10)
    ledger.ask_again([question.pair for question in crowd.in_doubt])
    findings = await judge(tmp_path / "state", ledger)
    assert not findings, findings


@pytest.mark.parametrize("number", range(1, 9))
async def test_agent_starts_after_crash_at_nth_sync_of_first_start(
    tmp_path: Path, number: int
) -> None:
    """Schema, epoch and key may be half written."""
    tracing = (strace(), "-f", "-qq", "-o", "/dev/null")
    fault = ("-e", f"inject=fdatasync,fsync:signal=SIGKILL:when={number}")
    async with agent_process(tmp_path / "state", program=(*tracing, *fault, *AGENT)) as child:
        with suppress(ProcessEndedError):
            await child.ready()
    async with agent_process(tmp_path / "state") as child:
        assert (
            await send_request(await child.ready(), REQUESTS.session(fresh_pair()))
        ).status == 200
    assert not (tmp_path / "state" / "set-aside").exists()


@pytest.mark.parametrize("fault", ["fdatasync:error=EIO:when=5", "fdatasync:error=EIO:when=3+7"])
async def test_failed_sync_is_refused_and_agent_continues(tmp_path: Path, fault: str) -> None:
    """The till gets 200 (the writer reopened the file) or 503, never a false 200."""
    ledger = TillLedger()
    async with faulty(tmp_path / "state", fault) as (_, port):
        crowd = crowd_at(port, ledger, ledger.customers(300))
        await crowd.open(8)
        assert await crowd.finished(timeout_seconds=60)
    assert {answer.status for answer in ledger.refused} <= {503}
    assert not crowd.in_doubt
    assert ledger.acknowledged
    findings = await judge(tmp_path / "state", ledger)
    assert not findings, findings


async def test_same_agent_serves_again_after_failed_sync(tmp_path: Path) -> None:
    async with agent_process(tmp_path / "state") as child:
        port = await child.ready()
        async with injected(child.pid, "fdatasync:error=EIO"):
            assert (await send_request(port, REQUESTS.session(fresh_pair()))).status == 503
            assert (await get(port, "/healthz")).status == 200
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (await get(port, "/readyz")).status != 200:
                """The agent retries opening once a second."""
        assert (await send_request(port, REQUESTS.session(fresh_pair()))).status == 200


async def test_disk_that_fills_under_load_is_answered_with_507(tmp_path: Path) -> None:
    ledger = TillLedger()
    async with faulty(tmp_path / "state", "pwrite64:error=ENOSPC:when=200+") as (_, port):
        crowd = crowd_at(port, ledger, ledger.customers(100))
        await crowd.open(4)
        assert await crowd.finished(timeout_seconds=60)
        assert (await get(port, "/healthz")).status == 200
    assert ledger.acknowledged
    assert {answer.status for answer in ledger.refused} == {507}
    findings = await judge(tmp_path / "state", ledger)
    assert not findings, findings


async def test_stop_on_slow_disk_answers_recorded_captures(tmp_path: Path) -> None:
    """Each sync takes 200 ms; SIGTERM arrives during one."""
    ledger = TillLedger()
    async with faulty(tmp_path / "state", "fdatasync:delay_enter=200000") as (child, port):
        crowd = crowd_at(port, ledger, ledger.customers())
        await crowd.open(16)
        await ledger.any_acknowledged.wait()
        child.terminate()
        assert await child.exit_code(5.0) == 0
        assert await crowd.finished(timeout_seconds=10)
    assert not ledger.refused
    assert ledger.unanswered(tmp_path / "state") == []
    findings = ledger.compare(tmp_path / "state")
    assert not findings, findings
