"""A store of delivered captures never rejects a till: the oldest go ahead of their retention."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from agent.facts import Recorded, SessionStarted, Timestamp
from agent.store.db.connect import database_bytes
from agent.store.files import disk_space
from agent.store.files.disk_space import SpaceLimits
from agent.store.files.storage_errors import StorageFullError
from agent.store.queries.reader import StoreReader
from agent.store.store import Store
from tests.support.agent.outbox import OutboxRig, outbox_on
from tests.support.agent.store import AT, answer, new, query, repeat, session

MIB = 1024 * 1024
BODY_BYTES = 8_000
SMALL = SpaceLimits(max_bytes=4 * MIB, min_free_bytes=0, ballast_bytes=0)
RESERVED = SpaceLimits(max_bytes=2**40, min_free_bytes=64 * MIB, ballast_bytes=0)
DAY_SECONDS = 24 * 3600
FILLING = 600
LONG_BEFORE = replace(AT, wall_us=AT.wall_us - DAY_SECONDS * 1_000_000)


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the simulated free bytes of the disk; change them at [0]."""
    said = [100 * MIB]
    monkeypatch.setattr(disk_space, "free_bytes", lambda _directory: said[0])
    return said


def large_session(name: str) -> SessionStarted:
    body = b'{"correlationId":"%b","more":"%b"}' % (name.encode(), b"x" * BODY_BYTES)
    return SessionStarted(name, None, False, body)


async def record(
    rig: OutboxRig, prefix: str, count: int, at: Timestamp = LONG_BEFORE
) -> list[object]:
    """Record large sessions, as many tills at once do; return the outcomes."""
    outcomes: list[object] = []
    for first in range(0, count, 20):
        names = [f"{prefix}{number}" for number in range(first, min(first + 20, count))]
        started = (rig.writer.record(large_session(name), at) for name in names)
        outcomes += await asyncio.gather(*started, return_exceptions=True)
    return outcomes


def held(directory: Path) -> tuple[int, int]:
    """Return the lowest and the highest position of the held events."""
    ((low, high),) = query(directory, "SELECT min(position), max(position) FROM event")
    assert isinstance(low, int)
    assert isinstance(high, int)
    return low, high


async def test_every_till_is_answered_while_delivered_captures_fill_the_store(
    tmp_path: Path,
) -> None:
    async with outbox_on(tmp_path, limits=SMALL) as rig:
        for turn in range(4):
            outcomes = await record(rig, f"{turn}/", FILLING // 2)
            assert {type(outcome) for outcome in outcomes} == {Recorded}
            await rig.deliver_all()
        low, high = held(tmp_path)
    assert 1 < low < high == 2 * FILLING
    assert database_bytes(tmp_path) < 2 * SMALL.max_bytes


async def test_undelivered_captures_are_never_purged_and_reject_tills(tmp_path: Path) -> None:
    async with outbox_on(tmp_path, limits=SMALL) as rig:
        outcomes = await record(rig, "s", FILLING)
        recorded = sum(isinstance(outcome, Recorded) for outcome in outcomes)
        assert isinstance(outcomes[-1], StorageFullError)
        assert held(tmp_path) == (1, recorded)
        await rig.deliver_all()
        assert isinstance((await record(rig, "t", 1))[0], Recorded)


async def test_a_dead_letter_and_its_session_outlast_an_early_purge(tmp_path: Path) -> None:
    async with outbox_on(tmp_path, limits=SMALL) as rig:
        await rig.capture(session("one"), answer("one"))
        await rig.refuse((await rig.window()).events[1])
        await record(rig, "s", FILLING // 2)
        await rig.deliver_all()
        await record(rig, "t", FILLING)
        kept = query(tmp_path, "SELECT position FROM event ORDER BY position LIMIT 3")
    assert kept[:2] == [(1,), (2,)]
    assert kept[2] > (3,)


async def test_room_is_made_ahead_so_that_no_till_waits_for_it(tmp_path: Path) -> None:
    async with outbox_on(tmp_path, limits=SMALL) as rig:
        turn = 0
        while not await rig.outbox.retention.make_room_once():
            outcomes = await record(rig, f"{turn}/", 20)
            assert {type(outcome) for outcome in outcomes} == {Recorded}
            await rig.deliver_all()
            turn += 1
        assert held(tmp_path)[0] > 1


async def test_a_nearly_full_disk_makes_delivered_captures_go(
    tmp_path: Path, free: list[int]
) -> None:
    """Their pages in the file are used again, which takes nothing of the disk."""
    async with outbox_on(tmp_path, limits=RESERVED) as rig:
        await record(rig, "s", FILLING)
        await rig.deliver_all()
        await rig.writer.run(Store.checkpoint)
        free[0] = RESERVED.min_free_bytes - 1
        await rig.writer.check(10)
        size = (tmp_path / "agent.db").stat().st_size
        outcomes = await record(rig, "t", FILLING // 2)
        assert {type(outcome) for outcome in outcomes} == {Recorded}
        await rig.writer.run(Store.checkpoint)
        assert (tmp_path / "agent.db").stat().st_size <= size + MIB


async def test_status_says_for_how_long_captures_are_kept_and_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with outbox_on(tmp_path, limits=SMALL) as rig:
        await record(rig, "s", FILLING // 2)
        await rig.deliver_all()
        assert StoreReader(tmp_path).status().early_purge is None
        await record(rig, "t", FILLING)
        found = StoreReader(tmp_path).status().early_purge
    assert found is not None
    assert (found.limit, found.kept_us) == ("max_bytes", 0)
    logged = [record.message for record in caplog.records if "purged_early" in record.message]
    assert len(logged) == 1


async def test_a_session_that_a_customer_may_still_answer_is_not_purged_ahead(
    tmp_path: Path,
) -> None:
    """Dead letters fill the store: all that is delivered would go within seconds."""
    async with outbox_on(tmp_path, limits=SMALL) as rig:
        turn = 0
        while not await rig.outbox.retention.make_room_once():
            await record(rig, f"{turn}/", 20)
            await rig.refuse(*(await rig.window()).events)
            await rig.writer.record(session(f"old {turn}"), LONG_BEFORE)
            await rig.deliver_all()
            turn += 1
        await rig.writer.record(session("now"), AT)
        await rig.deliver_all()
        while await rig.outbox.retention.make_room_once():
            pass
        assert await rig.writer.record(session("now"), AT) == repeat(21 * turn + 1)
        assert await rig.writer.record(answer("now"), AT) == new(21 * turn + 2)


async def test_a_full_disk_leaves_the_sessions_that_customers_may_still_answer(
    tmp_path: Path, free: list[int]
) -> None:
    async with outbox_on(tmp_path, limits=RESERVED) as rig:
        await rig.writer.record(session("one"), AT)
        await rig.deliver_all()
        free[0] = RESERVED.min_free_bytes - 1
        with pytest.raises(StorageFullError):
            await rig.writer.run(Store.require_room)
        free[0] = 100 * MIB
        assert await rig.writer.record(answer("one"), AT) == new(2)


async def test_recent_captures_go_before_a_till_is_rejected_if_no_others_are_left(
    tmp_path: Path,
) -> None:
    async with outbox_on(tmp_path, limits=SMALL) as rig:
        for turn in range(4):
            outcomes = await record(rig, f"{turn}/", FILLING // 2, AT)
            assert {type(outcome) for outcome in outcomes} == {Recorded}
            await rig.deliver_all()
            assert not await rig.outbox.retention.make_room_once()
