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

from tests.support.agent.process import WAIT_SECONDS, get
from tests.support.faults.small_disk import small_disk
from tests.support.head_office.load import Feeder, feeders_at, findings, kept_in, rush
from tests.support.head_office.messages import Sender
from tests.support.head_office.process import HQ, configured, head_office_on, hq

SEED = int(os.environ.get("CRASH_SEED", "20250109"))
KILLS = 20
STOP_SECONDS = 5.0
SABOTAGED = (sys.executable, "-m", "tests.crash.head_office_answering_early")
SENDERS = [
    Sender("0042", "till-1"),
    Sender("0042", "till-2"),
    Sender("0043", "till-1"),
    Sender("0044", "till-1"),
]


async def crash_once(
    directory: Path,
    feeders: Sequence[Feeder],
    dice: random.Random,
    program: Sequence[str] = HQ,
) -> None:
    """Kill a receiver under load, up to 150 ms after the first answer of this round."""
    async with head_office_on(directory, program) as office:
        load = rush(feeders, await office.port())
        await load.any_acknowledged.wait()
        assert await office.outlives(dice.uniform(0, 0.15)), office.last_words()
        office.kill()
        await office.ended()
        await load.over()


async def kill_and_compare(directory: Path, kills: int) -> list[str]:
    """Kill the receiver `kills` times; return the differences found."""
    print(f"CRASH_SEED={SEED}")
    dice = random.Random(SEED)
    feeders = await feeders_at(directory, SENDERS, dice)
    for _ in range(kills):
        await crash_once(directory, feeders, dice)
    print(f"{kills} kills, {sum(feeder.acknowledged for feeder in feeders)} events acknowledged")
    return findings(feeders, kept_in(directory / "hq.db"))


async def test_kills_lose_no_acknowledged_event(tmp_path: Path) -> None:
    assert await kill_and_compare(tmp_path / "state", 2) == []


@pytest.mark.campaign
async def test_many_kills_lose_no_acknowledged_event(tmp_path: Path) -> None:
    assert await kill_and_compare(tmp_path / "state", KILLS) == []


@pytest.mark.campaign
async def test_receiver_that_answers_before_commit_is_detected(tmp_path: Path) -> None:
    """Control: the same rounds detect the planted fault."""
    dice = random.Random(SEED)
    feeders = await feeders_at(tmp_path / "state", SENDERS, dice)

    for _ in range(6):
        await crash_once(tmp_path / "state", feeders, dice, SABOTAGED)
        if findings(feeders, kept_in(tmp_path / "state" / "hq.db")):
            return

    pytest.fail("the crash tests would not notice an answer before the commit")


@pytest.mark.campaign
async def test_two_receivers_on_one_file_keep_events_of_same_agents_once(
    tmp_path: Path,
) -> None:
    """Each agent sends to both at once, as after a slow answer."""
    directory, dice = tmp_path / "state", random.Random(SEED)
    feeders = await feeders_at(directory, SENDERS[:2], dice)
    twins = [Feeder(one.sender, one.token, random.Random(one.sender.till_id)) for one in feeders]
    async with head_office_on(directory) as first, head_office_on(directory) as second:
        loads = [rush(feeders, await first.port()), rush(twins, await second.port())]
        for load in loads:
            await load.any_acknowledged.wait()
        assert await first.outlives(1.0)
        for office in (first, second):
            office.terminate()
        assert [await office.ended(STOP_SECONDS) for office in (first, second)] == [0, 0]
        for load in loads:
            await load.over()

    assert findings([*feeders, *twins], kept_in(directory / "hq.db")) == []


async def test_stop_under_load_answers_requests_in_progress(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    feeders = await feeders_at(directory, SENDERS[:2], random.Random(SEED))
    async with head_office_on(directory) as office:
        load = rush(feeders, await office.port())
        await load.any_acknowledged.wait()
        office.terminate()
        assert await office.ended(STOP_SECONDS) == 0
        await load.over()

    # Check this before another connection opens the file.
    assert not (directory / "hq.db-wal").exists()
    assert findings(feeders, kept_in(directory / "hq.db")) == []


async def test_stop_is_not_delayed_by_locked_database(tmp_path: Path) -> None:
    """Batches are queued for the lock."""
    directory = tmp_path / "state"
    feeders = await feeders_at(directory, SENDERS, random.Random(SEED))
    async with head_office_on(directory) as office:
        load = rush(feeders, await office.port())
        await load.any_acknowledged.wait()
        with closing(sqlite3.connect(directory / "hq.db", isolation_level=None)) as tool:
            tool.execute("BEGIN IMMEDIATE")
            assert (await office.logged("request.refused"))["status"] == 503

            office.terminate()

            assert await office.ended(STOP_SECONDS) == 0
        await load.over()


async def test_full_disk_is_answered_with_503_until_space_is_free(
    tmp_path: Path,
) -> None:
    async with small_disk(tmp_path / "state", "6m") as disk:
        program = disk.running(HQ)
        enroll = ("--config", str(configured(disk.inside)), "enroll", "0042", "till-1")
        token = hq(*enroll, program=program).stdout.strip()
        feeder = Feeder(SENDERS[0], token, random.Random(SEED))
        async with head_office_on(disk.inside, program) as office, aiohttp.ClientSession() as line:
            port = await office.port()
            disk.fill(leaving_bytes=512 * 1024)
            while await feeder.send_once(line, port):
                pass
            disk.free()
            before = feeder.acknowledged
            await feeder.send_once(line, port)
            office.terminate()
            assert await office.ended(STOP_SECONDS) == 0
        disk.copy_to(tmp_path / "copy")

    assert feeder.put_off == ["5"]
    assert feeder.acknowledged > before
    assert findings([feeder], kept_in(tmp_path / "copy" / "hq.db")) == []


async def test_readiness_fails_on_full_disk_until_space_is_free(tmp_path: Path) -> None:
    async with small_disk(tmp_path / "state", "6m") as disk:
        program = disk.running(HQ)
        configured(disk.inside)
        async with head_office_on(disk.inside, program) as office:
            port = await office.port()
            disk.fill()
            full = await get(port, "/readyz")
            disk.free()
            async with asyncio.timeout(WAIT_SECONDS):
                while (await get(port, "/readyz")).status != 200:  # noqa: ASYNC110 - other process
                    await asyncio.sleep(0.05)

    assert (full.status, b"the disk is full" in full.body) == (503, True)
