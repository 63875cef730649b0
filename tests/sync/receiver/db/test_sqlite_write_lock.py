"""Write lock of the ledger's file: exclusive, and fair between processes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from sync.receiver.db.database import DatabaseLockedError
from sync.receiver.db.health.outage import outage_reason
from sync.receiver.db.sqlite_write_lock import WriteLock

HELD_SECONDS = 0.004
ROUNDS = 40


@pytest.fixture
async def locks(tmp_path: Path) -> AsyncIterator[tuple[WriteLock, WriteLock]]:
    """Stand in for two processes: flock locks belong to open files, not to processes."""
    first, second = WriteLock(tmp_path / "hq.db"), WriteLock(tmp_path / "hq.db")
    with closing(first), closing(second):
        first.open()
        second.open()
        yield first, second


async def test_only_one_holds_the_lock(locks: tuple[WriteLock, WriteLock]) -> None:
    inside, most = 0, 0

    async def write(place: WriteLock) -> None:
        nonlocal inside, most
        for _ in range(5):
            async with place.acquire():
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0)
                inside -= 1

    await asyncio.gather(*(write(place) for place in locks for _ in range(4)))

    assert most == 1


async def test_busy_process_does_not_starve_another(
    locks: tuple[WriteLock, WriteLock],
) -> None:
    """For example `enroll` beside a receiver under load."""
    busy, other = locks
    waited: list[int] = []
    done = 0

    async def work() -> None:
        nonlocal done
        while len(waited) < ROUNDS:
            async with busy.acquire():
                await asyncio.sleep(HELD_SECONDS)
                done += 1

    async def ask() -> None:
        for _ in range(ROUNDS):
            before = done
            async with other.acquire():
                waited.append(done - before)
            await asyncio.sleep(HELD_SECONDS)

    await asyncio.gather(ask(), *(work() for _ in range(4)))

    assert max(waited) <= 3


async def test_lock_timeout_names_the_file(
    locks: tuple[WriteLock, WriteLock],
) -> None:
    async with locks[0].acquire():
        with pytest.raises(TimeoutError, match=r"hq\.db"):
            async with locks[1].acquire(seconds=0.02):
                pytest.fail("two hold the lock")


async def test_of_all_that_wait_for_another_process_only_one_waits(
    locks: tuple[WriteLock, WriteLock],
) -> None:
    """Behind a long command each request had waited for its own 15 s, one after the other."""
    serving, command = locks
    async with command.acquire():
        waiting = [asyncio.ensure_future(held(serving, 0.05)) for _ in range(20)]
        behind = await asyncio.gather(*waiting, return_exceptions=True)
        probe = asyncio.ensure_future(held(serving, 600))
        await asyncio.sleep(0)
        with pytest.raises(TimeoutError, match="locks the database"):
            await held(serving, 600)
        is_probing = not probe.done()
    await probe

    assert {type(error) for error in behind} == {DatabaseLockedError}
    assert is_probing
    await asyncio.gather(*(held(serving, 600) for _ in range(3)))


async def held(lock: WriteLock, seconds: float) -> None:
    """Take the lock for a moment."""
    async with lock.acquire(seconds):
        pass


async def test_own_writes_do_not_refuse_each_other(locks: tuple[WriteLock, WriteLock]) -> None:
    serving, _ = locks
    async with serving.acquire(0.01):
        second = asyncio.ensure_future(held(serving, 0.01))
        await asyncio.sleep(0.05)
    await second


async def test_write_behind_slow_ones_of_its_own_process_blames_no_other(
    locks: tuple[WriteLock, WriteLock], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a disk that stalls the log told to look for another process that locks the database."""
    monkeypatch.setattr("sync.receiver.db.sqlite_write_lock._TASKS_SECONDS", 0.01)
    serving, _ = locks
    async with serving.acquire():
        with pytest.raises(OSError, match="disk is slow") as raised:
            await held(serving, 600)

    assert outage_reason(raised.value) == "a statement took too long"


async def test_timed_out_waiter_does_not_block_others(locks: tuple[WriteLock, WriteLock]) -> None:
    async with locks[0].acquire():
        with pytest.raises(TimeoutError):
            await locks[1].acquire(seconds=0.02).__aenter__()

    for place in locks:
        async with place.acquire():
            pass


def test_close_is_idempotent(tmp_path: Path) -> None:
    place = WriteLock(tmp_path / "hq.db")
    place.open()

    place.close()
    place.close()

    assert not place.is_open
