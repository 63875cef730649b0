"""Head office killed, stopped, run twice, out of space: acknowledged events are kept once."""

import asyncio
import os
import random
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import aiohttp
import pytest

from tests.support.faults.small_disk import small_disk
from tests.support.head_office.load import LoadAgent, enroll_at, findings, start_load, stored_in
from tests.support.head_office.messages import SimulatedAgent
from tests.support.head_office.process import HQ, hq, receiver_process, write_config
from tests.support.patience import PATIENCE_SECONDS
from tests.support.till.requests import get

pytestmark = pytest.mark.process

SEED = int(os.environ.get("CRASH_SEED", "20250109"))
KILLS = 20
STOP_SECONDS = 5.0
SABOTAGED = (sys.executable, "-m", "tests.crash.head_office_answering_early")
SENDERS = [
    SimulatedAgent("0042", "till-1"),
    SimulatedAgent("0042", "till-2"),
    SimulatedAgent("0043", "till-1"),
    SimulatedAgent("0044", "till-1"),
]


async def crash_once(
    directory: Path,
    agents: Sequence[LoadAgent],
    rng: random.Random,
    program: Sequence[str] = HQ,
) -> None:
    """Kill a receiver under load, up to 150 ms after the first answer of this round."""
    async with receiver_process(directory, program) as office:
        load = start_load(agents, await office.port())
        await load.any_acknowledged.wait()
        assert await office.still_runs_after(rng.uniform(0, 0.15)), office.log_tail()
        office.kill()
        await office.exit_code()
        await load.finished()


async def kill_and_compare(directory: Path, kills: int) -> list[str]:
    """Kill the receiver `kills` times; return the differences found."""
    print(f"CRASH_SEED={SEED}")
    rng = random.Random(SEED)
    agents = await enroll_at(directory, SENDERS, rng)
    for _ in range(kills):
        await crash_once(directory, agents, rng)
    print(f"{kills} kills, {sum(agent.acknowledged for agent in agents)} events acknowledged")
    return findings(agents, stored_in(directory / "hq.db"))


async def test_kills_lose_no_acknowledged_event(tmp_path: Path) -> None:
    assert await kill_and_compare(tmp_path / "state", 2) == []


@pytest.mark.campaign
async def test_many_kills_lose_no_acknowledged_event(tmp_path: Path) -> None:
    assert await kill_and_compare(tmp_path / "state", KILLS) == []


@pytest.mark.campaign
async def test_receiver_that_answers_before_commit_is_detected(tmp_path: Path) -> None:
    """Control: the same rounds detect the planted fault."""
    rng = random.Random(SEED)
    agents = await enroll_at(tmp_path / "state", SENDERS, rng)

    for _ in range(6):
        await crash_once(tmp_path / "state", agents, rng, SABOTAGED)
        if findings(agents, stored_in(tmp_path / "state" / "hq.db")):
            return

    pytest.fail("the crash tests would not notice an answer before the commit")


@pytest.mark.campaign
async def test_two_receivers_on_one_file_keep_events_of_same_agents_once(
    tmp_path: Path,
) -> None:
    """Each agent sends to both at once, as after a slow answer."""
    directory, rng = tmp_path / "state", random.Random(SEED)
    agents = await enroll_at(directory, SENDERS[:2], rng)
    twins = [LoadAgent(one.sender, one.token, random.Random(one.sender.till_id)) for one in agents]
    async with receiver_process(directory) as first, receiver_process(directory) as second:
        loads = [start_load(agents, await first.port()), start_load(twins, await second.port())]
        for load in loads:
            await load.any_acknowledged.wait()
        assert await first.still_runs_after(1.0)
        for office in (first, second):
            office.terminate()
        assert [await office.exit_code(STOP_SECONDS) for office in (first, second)] == [0, 0]
        for load in loads:
            await load.finished()

    assert findings([*agents, *twins], stored_in(directory / "hq.db")) == []


async def test_stop_under_load_answers_requests_in_progress(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    agents = await enroll_at(directory, SENDERS[:2], random.Random(SEED))
    async with receiver_process(directory) as office:
        load = start_load(agents, await office.port())
        await load.any_acknowledged.wait()
        office.terminate()
        assert await office.exit_code(STOP_SECONDS) == 0
        await load.finished()

    # Check this before another connection opens the file.
    assert not (directory / "hq.db-wal").exists()
    assert findings(agents, stored_in(directory / "hq.db")) == []


async def test_stop_is_not_delayed_by_locked_database(tmp_path: Path) -> None:
    """Batches are queued for the lock."""
    directory = tmp_path / "state"
    agents = await enroll_at(directory, SENDERS, random.Random(SEED))
    async with receiver_process(directory) as office:
        load = start_load(agents, await office.port())
        await load.any_acknowledged.wait()
        with closing(sqlite3.connect(directory / "hq.db", isolation_level=None)) as tool:
            tool.execute("BEGIN IMMEDIATE")
            assert (await office.wait_for_log("request.refused"))["status"] == 503

            office.terminate()

            assert await office.exit_code(STOP_SECONDS) == 0
        await load.finished()


async def test_full_disk_is_answered_with_503_until_space_is_free(
    tmp_path: Path,
) -> None:
    async with small_disk(tmp_path / "state", "6m") as disk:
        program = disk.running(HQ)
        enroll = ("--config", str(write_config(disk.inside)), "enroll", "0042", "till-1")
        token = hq(*enroll, program=program).stdout.strip()
        agent = LoadAgent(SENDERS[0], token, random.Random(SEED))
        async with (
            receiver_process(disk.inside, program) as office,
            aiohttp.ClientSession() as line,
        ):
            port = await office.port()
            disk.fill(leaving_bytes=512 * 1024)
            while await agent.send_once(line, port):
                pass
            disk.free()
            before = agent.acknowledged
            await agent.send_once(line, port)
            office.terminate()
            assert await office.exit_code(STOP_SECONDS) == 0
        disk.copy_to(tmp_path / "copy")

    assert agent.retry_after_values == ["5"]
    assert agent.acknowledged > before
    assert findings([agent], stored_in(tmp_path / "copy" / "hq.db")) == []


async def test_readiness_fails_on_full_disk_until_space_is_free(tmp_path: Path) -> None:
    async with small_disk(tmp_path / "state", "6m") as disk:
        program = disk.running(HQ)
        write_config(disk.inside)
        async with receiver_process(disk.inside, program) as office:
            port = await office.port()
            disk.fill()
            full = await get(port, "/readyz")
            disk.free()
            async with asyncio.timeout(PATIENCE_SECONDS):
                while (await get(port, "/readyz")).status != 200:  # noqa: ASYNC110 - other process
                    await asyncio.sleep(0.05)

    assert (full.status, b"the disk is full" in full.body) == (503, True)
