"""Head office killed, stopped, doubled, out of space: what it acknowledged is there, once."""

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

from tests.crash.child import WAIT_SECONDS, get
from tests.crash.small_disk import small_disk
from tests.head_office.load import Feeder, feeders_at, findings, kept_in, rush
from tests.head_office.process import HQ, configured, head_office_on, hq
from tests.head_office.sender import Sender

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
    """Kill it so often; return what does not agree."""
    print(f"CRASH_SEED={SEED}")
    dice = random.Random(SEED)
    feeders = await feeders_at(directory, SENDERS, dice)
    for _ in range(kills):
        await crash_once(directory, feeders, dice)
    print(f"{kills} kills, {sum(feeder.acknowledged for feeder in feeders)} events acknowledged")
    return findings(feeders, kept_in(directory / "hq.db"))


async def test_kills_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    assert await kill_and_compare(tmp_path / "state", 2) == []


@pytest.mark.campaign
async def test_many_kills_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    assert await kill_and_compare(tmp_path / "state", KILLS) == []


@pytest.mark.campaign
async def test_a_head_office_that_answers_before_the_commit_is_caught(tmp_path: Path) -> None:
    """The control: the same rounds find the planted fault."""
    dice = random.Random(SEED)
    feeders = await feeders_at(tmp_path / "state", SENDERS, dice)

    for _ in range(6):
        await crash_once(tmp_path / "state", feeders, dice, SABOTAGED)
        if findings(feeders, kept_in(tmp_path / "state" / "hq.db")):
            return

    pytest.fail("the crash tests would not notice an answer before the commit")


@pytest.mark.campaign
async def test_two_receivers_on_one_file_take_the_batches_of_the_same_agents(
    tmp_path: Path,
) -> None:
    """Each agent sends by both at once: an answer was slow, and it asked the other one too."""
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


async def test_a_stop_under_load_answers_what_is_in_hand(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    feeders = await feeders_at(directory, SENDERS[:2], random.Random(SEED))
    async with head_office_on(directory) as office:
        load = rush(feeders, await office.port())
        await load.any_acknowledged.wait()
        office.terminate()
        assert await office.ended(STOP_SECONDS) == 0
        await load.over()

    # Before anybody else opens the file.
    assert not (directory / "hq.db-wal").exists()
    assert findings(feeders, kept_in(directory / "hq.db")) == []


async def test_a_database_that_somebody_locks_does_not_hold_a_stop_up(tmp_path: Path) -> None:
    """With batches waiting one behind the other."""
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


async def test_a_full_disk_is_answered_503_and_served_again_once_there_is_room(
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


async def test_on_a_full_disk_it_is_not_ready_until_there_is_room(tmp_path: Path) -> None:
    async with small_disk(tmp_path / "state", "6m") as disk:
        program = disk.running(HQ)
        configured(disk.inside)
        async with head_office_on(disk.inside, program) as office:
            port = await office.port()
            disk.fill()
            full = await get(port, "/readyz")
            disk.free()
            async with asyncio.timeout(WAIT_SECONDS):
                while (await get(port, "/readyz")).status != 200:  # noqa: ASYNC110 - another process
                    await asyncio.sleep(0.05)

    assert (full.status, b"the disk is full" in full.body) == (503, True)
