"""Impossible values, as SQLite reads them from a damaged page without an error."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from agent.facts import Receipt
from agent.store.files.quarantine import list_quarantined
from agent.store.files.storage_errors import CorruptRow, StorageDamagedError
from agent.store.queries import StoreReader
from sync.delivery.outbox import OutboxUnavailable
from tests.support.agent.outbox import PLENTY, OutboxRig, outbox_on
from tests.support.agent.store import EpochIds, answer, change, opened, record, session

# Tables that take any value in any column.
ANY_VALUE = (
    "PRAGMA writable_schema=ON",
    "UPDATE sqlite_schema SET sql = replace(replace(sql, 'NOT NULL', ''), 'STRICT', '')",
)
UNKNOWN_TYPE = "UPDATE event SET type = 'nonsense'"
NO_TEXT = "UPDATE session SET correlation_id = CAST(x'ff' || position AS TEXT)"
NO_EPOCH = "UPDATE epoch SET base_position = 100"

Read = Callable[[OutboxRig], Awaitable[object]]


async def page(rig: OutboxRig) -> object:
    """List the dead letters."""
    return await rig.outbox.dead_letters.page(10)


async def find(rig: OutboxRig) -> object:
    """Return a single dead letter."""
    return await rig.outbox.dead_letters.find("epoch-1", 1)


async def pending(rig: OutboxRig) -> object:
    """Return the pending events."""
    return await rig.window()


async def retries(rig: OutboxRig) -> object:
    """Return the dead letters to retry."""
    return await rig.outbox.next_retry_window(PLENTY)


async def damage(directory: Path, *statements: str) -> None:
    """Create a store with two dead letters to retry and two pending events; then damage it."""
    async with outbox_on(directory) as rig:
        await rig.capture(session("one"), answer("one"), session("two"), answer("two"))
        await rig.refuse(*(await rig.window(events=2)).events)
        assert await rig.outbox.dead_letters.retry("epoch-1", 1)
    change(directory, *ANY_VALUE)
    change(directory, *statements)


@pytest.mark.parametrize("read", [page, find, pending, retries])
@pytest.mark.parametrize("statement", [UNKNOWN_TYPE, NO_TEXT])
async def test_impossible_event_quarantines_the_database(
    tmp_path: Path, read: Read, statement: str
) -> None:
    await damage(tmp_path, statement)
    async with outbox_on(tmp_path, epochs=EpochIds(iter(range(2, 9)))) as rig:
        with pytest.raises(OutboxUnavailable):
            await read(rig)
        assert len(list_quarantined(tmp_path)) == 1


@pytest.mark.parametrize("read", [page, pending, retries])
async def test_event_without_an_epoch_quarantines_the_database(tmp_path: Path, read: Read) -> None:
    await damage(tmp_path)
    async with outbox_on(tmp_path, epochs=EpochIds(iter(range(2, 9)))) as rig:
        await rig.capture(session("three"))  # the store is open
        change(tmp_path, NO_EPOCH)
        with pytest.raises(OutboxUnavailable):
            await read(rig)
        assert len(list_quarantined(tmp_path)) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE dead_letter SET error_code = NULL",
        "UPDATE dead_letter SET attempts = 'many'",
        "UPDATE dead_letter SET refused_at_us = NULL",
        "UPDATE dead_letter SET discarded_at_us = x'00'",
    ],
)
async def test_impossible_dead_letter_quarantines_the_database(
    tmp_path: Path, statement: str
) -> None:
    await damage(tmp_path, statement)
    async with outbox_on(tmp_path, epochs=EpochIds(iter(range(2, 9)))) as rig:
        with pytest.raises(OutboxUnavailable):
            await find(rig)
        assert len(list_quarantined(tmp_path)) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE event SET body = '{}'",
        "UPDATE event SET body = x'00'",
        "UPDATE event SET occurred_at_us = 'then'",
        "UPDATE email_answer SET status = 'nonsense'",
        "UPDATE email_answer SET address = 'plain'",
    ],
)
async def test_impossible_pending_event_quarantines_the_database(
    tmp_path: Path, statement: str
) -> None:
    await damage(tmp_path, statement)
    async with outbox_on(tmp_path, epochs=EpochIds(iter(range(2, 9)))) as rig:
        with pytest.raises(OutboxUnavailable):
            await pending(rig)
        assert len(list_quarantined(tmp_path)) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE event SET occurred_at_us = NULL",
        "UPDATE email_answer SET status = 'nonsense'",
        "UPDATE email_answer SET status = NULL",
        NO_EPOCH,
    ],
)
async def test_impossible_row_fails_a_lookup_as_damage(tmp_path: Path, statement: str) -> None:
    await damage(tmp_path, statement)
    with pytest.raises(CorruptRow):
        StoreReader(tmp_path).session("one")


async def test_impossible_time_fails_the_status_as_damage(tmp_path: Path) -> None:
    await damage(tmp_path, "UPDATE event SET occurred_at_us = 'then'")
    with pytest.raises(CorruptRow):
        StoreReader(tmp_path).status()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE session SET closed = NULL",
        "UPDATE event SET body = NULL",
        "UPDATE email_answer SET status = x'00'",
    ],
)
async def test_impossible_row_fails_a_repeated_capture_as_damage(
    tmp_path: Path, statement: str
) -> None:
    await damage(tmp_path, statement)
    with opened(tmp_path) as store, pytest.raises(StorageDamagedError):
        record(store, session("one"), answer("one"))


async def test_impossible_epoch_found_on_opening_quarantines_the_database(tmp_path: Path) -> None:
    await damage(tmp_path, "UPDATE epoch SET epoch = x'00'")
    with opened(tmp_path, EpochIds(iter(range(2, 9)))) as store:
        assert store.epochs.last == Receipt("epoch-2", 0)
    assert len(list_quarantined(tmp_path)) == 1
