"""Write lock of the ledger's file: exclusive, and fair between processes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

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
            async with locks[1].acquire(timeout_seconds=0.02):
                pytest.fail("two hold the lock")


async def test_timed_out_waiter_does_not_block_others(locks: tuple[WriteLock, WriteLock]) -> None:
    async with locks[0].acquire():
        with pytest.raises(TimeoutError):
            await locks[1].acquire(timeout_seconds=0.02).__aenter__()

    for place in locks:
        async with place.acquire():
            pass


def test_close_is_idempotent(tmp_path: Path) -> None:
    place = WriteLock(tmp_path / "hq.db")
    place.open()

    place.close()
    place.close()

    assert not place.is_open
