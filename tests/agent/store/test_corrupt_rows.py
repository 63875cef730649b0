"""Impossible values, as SQLite reads them from a damaged page, found by a running agent."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from agent.facts import Receipt, Recorded
from agent.store.files.quarantine import list_quarantined
from agent.store.queries.reader import StoreReader
from tests.support.agent.outbox import PLENTY, OutboxRig, outbox_on
from tests.support.agent.store import EpochIds, answer, change, opened, record, session

# Tables that take any value in any column.
ANY_VALUE = (
    "PRAGMA writable_schema=ON",
    """
UPDATE sqlite_schema SET sql = replace(replace(sql, 'NOT NULL', ''), 'STRICT', '')
WHERE type = 'table'
""",
)
UNKNOWN_TYPE = "UPDATE event SET type = 'nonsense'"
NO_TEXT = "UPDATE session SET correlation_id = CAST(x'ff' || position AS TEXT)"
HIGH = "UPDATE destination SET watermark = 9223372036854775807"
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
async def test_impossible_event_is_read_with_its_damage(
    tmp_path: Path, read: Read, statement: str
) -> None:
    await damage(tmp_path, statement)
    async with outbox_on(tmp_path, epochs=EpochIds(iter(range(2, 9)))) as rig:
        assert await read(rig) is not None
        assert list_quarantined(tmp_path) == []


@pytest.mark.parametrize("read", [page, pending, retries])
@pytest.mark.parametrize("statement", [NO_EPOCH, "DELETE FROM epoch", HIGH])
async def test_impossible_cursor_or_epoch_is_repaired_while_the_agent_runs(
    tmp_path: Path, read: Read, statement: str
) -> None:
    await damage(tmp_path)
    async with outbox_on(tmp_path, epochs=EpochIds(iter(range(2, 9)))) as rig:
        await rig.capture(session("three"))  # the store is open
        change(tmp_path, statement)
        await read(rig)
        assert [event.correlation_id for event in (await rig.window()).events][-1] == "three"
        assert StoreReader(tmp_path).status().damaged_rows
        assert list_quarantined(tmp_path) == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE dead_letter SET error_code = NULL",
        "UPDATE dead_letter SET attempts = 'many'",
        "UPDATE dead_letter SET refused_at_us = NULL",
        "UPDATE dead_letter SET discarded_at_us = x'00'",
    ],
)
async def test_impossible_dead_letter_is_shown(tmp_path: Path, statement: str) -> None:
    await damage(tmp_path, statement)
    async with outbox_on(tmp_path, epochs=EpochIds(iter(range(2, 9)))) as rig:
        assert await find(rig) is not None
        assert len(await rig.outbox.dead_letters.page(10)) == 2


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("UPDATE event SET body = '{}'", "its body is unreadable"),
        ("UPDATE event SET body = x'00'", "its content was altered"),
        ("UPDATE event SET body = x'00', checksum = NULL", "its body is no JSON"),
        ("UPDATE event SET occurred_at_us = 'then'", "its occurred_at_us is unreadable"),
        ("UPDATE email_answer SET status = 'nonsense'", "its status is unreadable"),
        ("DELETE FROM session", "the row of its session is missing"),
        ("DELETE FROM event WHERE position = 4", "its row is missing"),
    ],
)
async def test_damaged_event_is_sent_as_its_number_alone(
    tmp_path: Path, statement: str, fault: str
) -> None:
    await damage(tmp_path, statement)
    async with outbox_on(tmp_path, epochs=EpochIds(iter(range(2, 9)))) as rig:
        event = (await rig.window()).events[-1]
        assert event.damage is not None
        assert (event.damage.error_code, event.body) == ("DAMAGED", b"{}")
        assert event.damage.error_message.endswith(fault)
        await rig.refuse(event, verdict=event.damage)
        letter = await rig.outbox.dead_letters.find("epoch-1", event.sequence)
        assert letter is not None
        assert letter.error_code == "DAMAGED"


async def test_damaged_event_that_is_repaired_is_sent_by_its_retry(tmp_path: Path) -> None:
    await damage(tmp_path, "UPDATE event SET type = 'x' || type WHERE position = 3")
    async with outbox_on(tmp_path, epochs=EpochIds(iter(range(2, 9)))) as rig:
        event = (await rig.window(events=1)).events[0]
        assert event.damage is not None
        await rig.refuse(event, verdict=event.damage)
    change(tmp_path, "UPDATE event SET type = substr(type, 2) WHERE position = 3")
    async with outbox_on(tmp_path, epochs=EpochIds(iter(range(2, 9)))) as rig:
        assert await rig.outbox.dead_letters.retry("epoch-1", 3)
        retried = (await rig.outbox.next_retry_window(PLENTY)).events
        assert [(one.position, one.damage) for one in retried if one.position == 3] == [(3, None)]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE event SET occurred_at_us = NULL",
        "UPDATE email_answer SET status = 'nonsense'",
        "UPDATE email_answer SET status = NULL",
    ],
)
async def test_impossible_row_does_not_fail_a_lookup_or_the_status(
    tmp_path: Path, statement: str
) -> None:
    await damage(tmp_path, statement)
    assert StoreReader(tmp_path).session("one")
    assert StoreReader(tmp_path).status().waiting == 2


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE session SET closed = NULL",
        "UPDATE event SET body = NULL",
        "UPDATE email_answer SET status = x'00'",
    ],
)
async def test_impossible_row_does_not_fail_a_repeated_capture(
    tmp_path: Path, statement: str
) -> None:
    await damage(tmp_path, statement)
    with opened(tmp_path) as store:
        outcomes = record(store, session("one"), answer("one"))
        assert all(isinstance(outcome, Recorded) for outcome in outcomes)


async def test_id_of_the_last_epoch_is_restored_from_the_mark(tmp_path: Path) -> None:
    await damage(tmp_path, "UPDATE epoch SET epoch = x'00'")
    with opened(tmp_path, EpochIds(iter(range(2, 9)))) as store:
        assert store.epochs.last == Receipt("epoch-1", 4)
    assert list_quarantined(tmp_path) == []
    assert StoreReader(tmp_path).status().damaged_rows == 1


async def test_delivery_goes_on_if_the_index_of_the_epochs_is_another_one(tmp_path: Path) -> None:
    """SQLite does not notice that index pages are swapped; delivery waited for ever."""
    async with outbox_on(tmp_path) as rig:
        await rig.capture(session("one"))
    pages = "SELECT rootpage FROM sqlite_schema WHERE name = 'sqlite_autoindex_boot_1'"
    change(
        tmp_path,
        ANY_VALUE[0],
        f"UPDATE sqlite_schema SET rootpage = ({pages}) WHERE name = 'sqlite_autoindex_epoch_1'",  # noqa: S608 - contains no value
    )

    async with outbox_on(tmp_path) as rig:
        await rig.deliver_all()
        assert await rig.positions() == []
