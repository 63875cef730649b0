"""Erasure: addresses of delivered events are erased in slices; all others stay readable."""

import asyncio
from pathlib import Path

import pytest

from agent.facts import EmailStatus
from agent.store.retention.erase import MAX_ADDRESSES
from agent.store.retention.retention import RetentionDays
from sync.delivery.outbox import OutboxEvent, OutboxUnavailable
from tests.support.agent.outbox import OutboxRig, outbox_on
from tests.support.agent.store import (
    ADDRESS,
    AT,
    KEY_FILE,
    EpochIds,
    answer,
    change,
    crashed_copy,
    query,
    session,
)

DAY_SECONDS = 24 * 3600
TWO_DAYS = RetentionDays(delivered_days=30, email_days=2)
STORED_ADDRESSES = "SELECT position FROM email_answer WHERE address IS NOT NULL ORDER BY position"


def stored_addresses(directory: Path) -> list[object]:
    """Return the positions of the stored addresses."""
    return [row[0] for row in query(directory, STORED_ADDRESSES)]


async def record_answered(rig: OutboxRig, *names: str) -> None:
    """Record sessions with one answer each."""
    for name in names:
        await rig.capture(session(name), answer(name))


async def reject_among_others(rig: OutboxRig) -> OutboxEvent:
    """Record two answers and reject the first one; return it."""
    await record_answered(rig, "one", "two")
    letter = (await rig.window()).events[1]
    await rig.refuse(letter)
    await rig.deliver_all()
    return letter


async def erase_all(rig: OutboxRig) -> int:
    """Erase everything due; return the number of steps."""
    steps = 1
    while await rig.outbox.retention.erase_once():
        steps += 1
    return steps


async def test_only_delivered_addresses_are_erased(tmp_path: Path) -> None:
    async with outbox_on(tmp_path) as rig:
        await record_answered(rig, "one", "two")
        await rig.deliver(*(await rig.window(events=2)).events)
        assert not await rig.outbox.retention.erase_once()
        assert stored_addresses(tmp_path) == [4]


async def test_addresses_delivered_ahead_of_a_stuck_event_are_erased(tmp_path: Path) -> None:
    async with outbox_on(tmp_path) as rig:
        await record_answered(rig, "stuck", "one", "two")
        events = (await rig.window()).events
        await rig.deliver(*events[3:5])
        await rig.refuse(events[5])
        await erase_all(rig)
        assert stored_addresses(tmp_path) == [2, 6]


async def test_addresses_delivered_ahead_have_the_same_retention(tmp_path: Path) -> None:
    a_day = RetentionDays(delivered_days=30, email_days=1)
    async with outbox_on(tmp_path, retention=a_day) as rig:
        await record_answered(rig, "stuck", "one")
        await rig.deliver(*(await rig.window()).events[2:])
        rig.clock.pass_seconds(DAY_SECONDS - 1)
        await erase_all(rig)
        assert stored_addresses(tmp_path) == [2, 4]
        rig.clock.pass_seconds(1)
        await erase_all(rig)
        assert stored_addresses(tmp_path) == [2]


async def test_more_addresses_ahead_than_one_slice_are_all_erased(tmp_path: Path) -> None:
    async with outbox_on(tmp_path) as rig:
        await record_answered(rig, "stuck", *(f"s{number}" for number in range(MAX_ADDRESSES + 1)))
        await rig.deliver(*(await rig.window()).events[2:])
        await erase_all(rig)
        assert stored_addresses(tmp_path) == [2]


async def test_erased_address_is_gone_from_the_file(tmp_path: Path) -> None:
    async with outbox_on(tmp_path) as rig:
        await record_answered(rig, "one")
        (ciphertext,) = query(tmp_path, "SELECT address FROM email_answer")[0]
        await rig.deliver_all()
        await erase_all(rig)
    assert isinstance(ciphertext, bytes)
    assert ciphertext not in (tmp_path / "agent.db").read_bytes()


async def test_many_addresses_are_erased_in_slices(tmp_path: Path) -> None:
    async with outbox_on(tmp_path) as rig:
        names = [f"s{n}" for n in range(2 * MAX_ADDRESSES + 1)]
        recorded = [rig.writer.record(session(name), AT) for name in names]
        recorded += [rig.writer.record(answer(name), AT) for name in names]
        await asyncio.gather(*recorded)
        await rig.deliver_all()
        assert await rig.outbox.retention.erase_once()
        assert len(stored_addresses(tmp_path)) == MAX_ADDRESSES + 1
        assert await erase_all(rig) == 2
        assert stored_addresses(tmp_path) == []


async def test_erase_writes_nothing_when_nothing_is_due(tmp_path: Path) -> None:
    async with outbox_on(tmp_path) as rig:
        await record_answered(rig, "one")
        await rig.deliver_all()
        await erase_all(rig)
        before = await rig.writer.run(lambda store: store.connection.total_changes)
        await erase_all(rig)
        assert await rig.writer.run(lambda store: store.connection.total_changes) == before


async def test_dead_letter_keeps_its_address_until_delivered(tmp_path: Path) -> None:
    async with outbox_on(tmp_path) as rig:
        await record_answered(rig, "one", "two")
        events = (await rig.window()).events
        await rig.refuse(events[1])
        await rig.deliver_all()
        await erase_all(rig)
        assert stored_addresses(tmp_path) == [2]
        await rig.deliver(events[1])
        await erase_all(rig)
        assert stored_addresses(tmp_path) == []


@pytest.mark.parametrize("days_refused", [1, 5])
async def test_retention_of_a_late_delivery_counts_from_its_own_time(
    tmp_path: Path, days_refused: int
) -> None:
    """In both cases: its neighbours are already erased by then, or not yet."""
    async with outbox_on(tmp_path, retention=TWO_DAYS) as rig:
        letter = await reject_among_others(rig)
        rig.clock.pass_seconds(days_refused * DAY_SECONDS)
        await erase_all(rig)
        await rig.deliver(letter)
        rig.clock.pass_seconds(2 * DAY_SECONDS - 1)
        await erase_all(rig)
        assert stored_addresses(tmp_path) == [2]
        rig.clock.pass_seconds(1)
        await erase_all(rig)
        assert stored_addresses(tmp_path) == []


async def test_late_delivery_repeated_after_a_rewind_is_erased_with_the_others(
    tmp_path: Path,
) -> None:
    async with outbox_on(tmp_path, retention=TWO_DAYS) as rig:
        letter = await reject_among_others(rig)
        rig.clock.pass_seconds(5 * DAY_SECONDS)
        await erase_all(rig)
        await rig.deliver(letter)
        await rig.outbox.rewind("epoch-1", 1)
        await rig.deliver_all()
        await erase_all(rig)
        assert stored_addresses(tmp_path) == [2]
        rig.clock.pass_seconds(2 * DAY_SECONDS)
        await erase_all(rig)
        assert stored_addresses(tmp_path) == []


async def test_addresses_are_kept_for_email_days(tmp_path: Path) -> None:
    async with outbox_on(tmp_path, retention=TWO_DAYS) as rig:
        await record_answered(rig, "one")
        await rig.deliver_all()
        rig.clock.pass_seconds(DAY_SECONDS)
        await record_answered(rig, "two")
        await rig.deliver_all()
        await erase_all(rig)
        assert stored_addresses(tmp_path) == [2, 4]
        rig.clock.pass_seconds(DAY_SECONDS)
        await erase_all(rig)
        assert stored_addresses(tmp_path) == [4]
        rig.clock.pass_seconds(DAY_SECONDS)
        await erase_all(rig)
        assert stored_addresses(tmp_path) == []


async def test_resent_answer_says_that_its_address_is_erased(
    tmp_path: Path,
) -> None:
    async with outbox_on(tmp_path) as rig:
        await record_answered(rig, "one")
        await rig.deliver_all()
        await erase_all(rig)
        await rig.outbox.rewind("epoch-1", 1)
        event = (await rig.window()).events[1]
        assert event.is_erased
        assert event.body == b'{"emailAddress":null,"erased":true,"status":"accepted"}'


async def test_answer_without_address_is_not_marked_as_erased(tmp_path: Path) -> None:
    async with outbox_on(tmp_path) as rig:
        await rig.capture(session("one"), answer("one", status=EmailStatus.DEFERRED))
        await rig.deliver_all()
        await erase_all(rig)
        await rig.outbox.rewind("epoch-1", 1)
        assert (await rig.window()).events[1].body == b'{"status":"deferred"}'


async def test_undecryptable_address_is_sent_as_erased_and_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with outbox_on(tmp_path) as rig:
        await record_answered(rig, "one", "two")
        moved = "UPDATE email_answer SET address = zeroblob(60)"
        change(tmp_path, moved)
        for _ in range(2):
            assert [e.is_erased for e in (await rig.window()).events] == [False, True, False, True]
    complaints = [r.message for r in caplog.records if "decryption" in r.message]
    assert complaints == ["outbox.decryption_failed"]


async def test_nothing_is_sent_or_given_up_while_the_key_is_missing(tmp_path: Path) -> None:
    async with outbox_on(tmp_path) as rig:
        await record_answered(rig, "one")
        key = (tmp_path / KEY_FILE).read_bytes()
        (tmp_path / KEY_FILE).unlink()
        with pytest.raises(OutboxUnavailable):
            await rig.window()
        (tmp_path / KEY_FILE).write_bytes(key)
        assert ADDRESS.encode() in (await rig.window()).events[1].body


async def test_addresses_due_before_a_kill_are_erased_after_the_restart(tmp_path: Path) -> None:
    epochs = EpochIds()
    async with outbox_on(tmp_path / "live", epochs=epochs) as rig:
        await record_answered(rig, "one")
        await rig.deliver_all()
        crashed = crashed_copy(tmp_path / "live", tmp_path / "crashed")
    assert stored_addresses(crashed) == [2]
    async with outbox_on(crashed, epochs=epochs) as rig:
        assert await rig.positions() == []
        await erase_all(rig)
        assert stored_addresses(crashed) == []
