"""Captures in a quarantined database are fed in once, with the receipts that tills have."""

import contextlib
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from agent.facts import EmailStatus, Receipt
from agent.store.db.connect import DATABASE_FILE
from agent.store.files.quarantine import (
    DELIVERED_FILE,
    QUARANTINE,
    SCRATCH_FILE,
    list_quarantined,
)
from agent.store.queries.reader import StoreReader
from agent.store.queries.status import SalvageStatus
from agent.store.recovery.erase import erase_delivered
from agent.store.recovery.extract import extract
from agent.store.recovery.process import ExtractionError, extract_in_process
from agent.store.recovery.recognise import event
from agent.store.recovery.salvage import Salvage
from agent.store.recovery.salvaged import read_captures
from tests.support.agent.damage import NAMES, killed_store
from tests.support.agent.outbox import OutboxRig, outbox_on
from tests.support.agent.salvage import extract_here, salvage_of, set_aside
from tests.support.agent.store import (
    EpochIds,
    answer,
    change,
    crashed_copy,
    opened,
    query,
    record,
    session,
)
from tests.support.patience import PATIENCE_SECONDS

ADDRESSES = "SELECT address FROM email_answer ORDER BY position"


async def captured(directory: Path, epochs: EpochIds, delivered: int = 0) -> list[str]:
    """Record two sessions with an answer each; deliver the first ones. Return the receipts."""
    async with outbox_on(directory, epochs=epochs) as rig:
        receipts = await rig.capture(
            session("one"), answer("one"), session("two"), answer("two", "two@example.com")
        )
        if delivered:
            await rig.deliver(*(await rig.window(delivered)).events)
        return receipts


async def salvaged(rig: OutboxRig) -> list[tuple[str, str | None]]:
    """Salvage; return the pending events by correlation id and address."""
    await rig.writer.check(PATIENCE_SECONDS)
    await salvage_of(rig).run_once()
    events = (await rig.window()).events
    return [(one.correlation_id, _address(one.body)) for one in events]


def _address(body: bytes) -> str | None:
    _, _, rest = body.partition(b'"emailAddress":"')
    return rest.partition(b'"')[0].decode() or None


async def test_undelivered_captures_of_a_quarantined_database_are_fed_in(tmp_path: Path) -> None:
    epochs = EpochIds()
    await captured(tmp_path, epochs)
    set_aside(tmp_path)

    async with outbox_on(tmp_path, epochs=epochs) as rig:
        assert await salvaged(rig) == [
            ("one", None),
            ("one", "guest.one@example.com"),
            ("two", None),
            ("two", "two@example.com"),
        ]


async def test_till_that_repeats_a_salvaged_capture_gets_its_first_receipt(tmp_path: Path) -> None:
    epochs = EpochIds()
    receipts = await captured(tmp_path, epochs)
    set_aside(tmp_path)

    async with outbox_on(tmp_path, epochs=epochs) as rig:
        await salvaged(rig)
        assert await rig.capture(session("one"), answer("one")) == receipts[:2]
        found = StoreReader(tmp_path).session("two")
        assert [str(one.receipt) for one in found] == receipts[2:]
        assert await rig.capture(session("new")) == ["epoch-2/5"]


async def test_delivered_captures_are_not_fed_in_again(tmp_path: Path) -> None:
    epochs = EpochIds()
    await captured(tmp_path, epochs, delivered=2)
    set_aside(tmp_path)

    async with outbox_on(tmp_path, epochs=epochs) as rig:
        assert await salvaged(rig) == [("two", None), ("two", "two@example.com")]


async def test_session_of_an_undelivered_answer_is_fed_in_again(tmp_path: Path) -> None:
    epochs = EpochIds()
    await captured(tmp_path, epochs, delivered=3)
    set_aside(tmp_path)

    async with outbox_on(tmp_path, epochs=epochs) as rig:
        assert await salvaged(rig) == [("two", None), ("two", "two@example.com")]


async def test_capture_that_a_till_repeated_before_salvage_is_fed_in_once(tmp_path: Path) -> None:
    epochs = EpochIds()
    receipts = await captured(tmp_path, epochs)
    set_aside(tmp_path)

    async with outbox_on(tmp_path, epochs=epochs) as rig:
        assert await rig.capture(session("one"), answer("one")) == ["epoch-2/1", "epoch-2/2"]
        assert len(await salvaged(rig)) == 4
        assert await rig.capture(session("one"), answer("one")) == receipts[:2]


async def test_session_with_other_content_is_kept_in_quarantine_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    epochs = EpochIds()
    await captured(tmp_path, epochs)
    set_aside(tmp_path)

    async with outbox_on(tmp_path, epochs=epochs) as rig:
        await rig.capture(session("one", locale="fr-FR"))
        await salvaged(rig)
        assert query(tmp_path, "SELECT salvaged, unreadable FROM salvage") == [(3, 1)]
    assert "salvage.conflict" in caplog.messages


async def test_answers_fed_in_again_are_recognised(tmp_path: Path) -> None:
    """As after a second damage, when the record of what was fed in is lost."""
    epochs = EpochIds()
    async with outbox_on(tmp_path, epochs=epochs) as rig:
        await rig.capture(
            session("one"),
            answer("one"),
            answer("one", status=EmailStatus.DECLINED),
            answer("one"),
        )
    set_aside(tmp_path)

    async with outbox_on(tmp_path, epochs=epochs) as rig:
        assert len(await salvaged(rig)) == 4
        await rig.writer.run(lambda store: store.connection.execute("DELETE FROM salvage"))
        assert len(await salvaged(rig)) == 4


async def test_quarantined_database_is_deleted_once_its_captures_are_delivered(
    tmp_path: Path,
) -> None:
    epochs = EpochIds()
    await captured(tmp_path, epochs)
    set_aside(tmp_path)

    async with outbox_on(tmp_path, epochs=epochs) as rig:
        await salvaged(rig)
        assert len(list_quarantined(tmp_path)) == 1
        await rig.deliver_all()
        await salvaged(rig)
        assert list_quarantined(tmp_path) == []


async def test_quarantined_database_with_unreadable_captures_stays(tmp_path: Path) -> None:
    epochs = EpochIds()
    await captured(tmp_path, epochs)
    place = set_aside(tmp_path)
    content = (place / DATABASE_FILE).read_bytes()
    (place / DATABASE_FILE).write_bytes(content.replace(b'{"correlationId":"two"}', b"\0" * 23))

    async with outbox_on(tmp_path, epochs=epochs) as rig:
        assert len(await salvaged(rig)) == 2
        await rig.deliver_all()
        await salvaged(rig)
        assert await salvaged(rig) == []
    assert sorted(file.name for file in place.iterdir()) == [
        DATABASE_FILE,
        "agent.mark",
        DELIVERED_FILE,
    ]
    assert query(tmp_path, "SELECT salvaged, unreadable FROM salvage") == [(2, 2)]


async def test_file_that_stays_keeps_no_address_of_a_delivered_answer(tmp_path: Path) -> None:
    epochs = EpochIds()
    await captured(tmp_path, epochs)
    addresses = [row[0] for row in query(tmp_path, ADDRESSES) if isinstance(row[0], bytes)]
    place = set_aside(tmp_path)
    content = (place / DATABASE_FILE).read_bytes()
    altered = content.replace(b'{"correlationId":"two"}', b'{"correlationId":"too"}')
    (place / DATABASE_FILE).write_bytes(altered)

    async with outbox_on(tmp_path, epochs=epochs) as rig:
        assert len(await salvaged(rig)) == 2
        content = (place / DATABASE_FILE).read_bytes()
        assert [address in content for address in addresses] == [True, True]
        await rig.deliver_all()
        assert await salvaged(rig) == []
    content = (place / DATABASE_FILE).read_bytes()
    assert [address in content for address in addresses] == [False, True]


async def test_wal_that_stays_keeps_no_address_of_a_delivered_answer(tmp_path: Path) -> None:
    with opened(tmp_path / "live", EpochIds()) as store:
        record(store, session("one"), answer("one"))
        addresses = [row[0] for row in store.connection.execute(ADDRESSES)]
        crashed_copy(tmp_path / "live", tmp_path / "killed")
    place = set_aside(tmp_path / "killed")
    wal = place / f"{DATABASE_FILE}-wal"
    assert addresses[0] in wal.read_bytes()
    extract(place, 3)
    erase_delivered(place)
    assert addresses[0] not in wal.read_bytes()


async def test_incomplete_copy_of_a_killed_command_is_removed_a_day_later(tmp_path: Path) -> None:
    copies = [tmp_path / QUARANTINE / f".incoming-{name}" for name in ("old", "new")]
    for copy in copies:
        copy.mkdir(parents=True)
        (copy / DATABASE_FILE).write_bytes(b"part of a database")
    yesterday = time.time() - 25 * 3600
    os.utime(copies[0], (yesterday, yesterday))
    async with outbox_on(tmp_path) as rig:
        assert await salvaged(rig) == []
    assert [copy.exists() for copy in copies] == [False, True]


async def test_altered_capture_is_not_believed(tmp_path: Path) -> None:
    epochs = EpochIds()
    await captured(tmp_path, epochs)
    place = set_aside(tmp_path)
    content = (place / DATABASE_FILE).read_bytes()
    altered = content.replace(b'{"correlationId":"two"}', b'{"correlationId":"too"}')
    (place / DATABASE_FILE).write_bytes(altered)

    async with outbox_on(tmp_path, epochs=epochs) as rig:
        assert await salvaged(rig) == [("one", None), ("one", "guest.one@example.com")]
        assert query(tmp_path, "SELECT salvaged, unreadable FROM salvage") == [(2, 2)]


def test_row_whose_checksum_is_no_number_is_not_recognised() -> None:
    values = (None, "session.started", 1, 1, 1, 1, b"{}")
    assert event(1, [*values, None]) == event(1, values)
    assert event(1, [*values, 7]) is not None
    assert event(1, [*values, "odd"]) is None


async def test_watermark_is_believed_only_as_far_as_an_acknowledgement_confirms_it(
    tmp_path: Path,
) -> None:
    epochs = EpochIds()
    await captured(tmp_path, epochs, delivered=2)
    change(tmp_path, "UPDATE destination SET watermark = 4")
    set_aside(tmp_path)

    async with outbox_on(tmp_path, epochs=epochs) as rig:
        assert [name for name, _ in await salvaged(rig)] == ["two", "two"]


async def test_erased_address_stays_erased_when_its_event_is_fed_in_again(tmp_path: Path) -> None:
    """The acknowledgement is unreadable, so all are sent again; an older page has the address."""
    epochs = EpochIds()
    async with outbox_on(tmp_path, epochs=epochs) as rig:
        await rig.capture(session("one"), answer("one"))
        before = query(tmp_path, "SELECT address FROM email_answer")
        await rig.deliver_all()
        await rig.outbox.retention.erase_once()
    change(tmp_path, "DELETE FROM delivery")
    with closing(sqlite3.connect(tmp_path / DATABASE_FILE)) as connection, connection:
        connection.execute("UPDATE email_answer SET address = ?", before[0])
    set_aside(tmp_path)

    async with outbox_on(tmp_path, epochs=epochs) as rig:
        await rig.writer.check(PATIENCE_SECONDS)
        await salvage_of(rig).run_once()
        assert [b'"erased":true' in one.body for one in (await rig.window()).events] == [
            False,
            True,
        ]


async def test_dead_letters_are_fed_in_to_be_sent_again(tmp_path: Path) -> None:
    epochs = EpochIds()
    async with outbox_on(tmp_path, epochs=epochs) as rig:
        await rig.capture(session("one"), session("two"), session("three"))
        first, *others = (await rig.window()).events
        await rig.refuse(first)
        await rig.deliver(*others)
    set_aside(tmp_path)

    async with outbox_on(tmp_path, epochs=epochs) as rig:
        assert await salvaged(rig) == [("one", None)]


async def test_captures_in_a_copied_wal_are_fed_in(tmp_path: Path) -> None:
    """SQLite reads less of the WAL than the high-water mark records: the copy has the rest."""
    live, state = tmp_path / "live", tmp_path / "state"
    epochs = EpochIds()
    names = [f"guest-{number}" for number in range(40)]
    with opened(live, epochs) as store:
        for name in names:
            record(store, session(name))
        crashed_copy(live, state)
    wal = state / f"{DATABASE_FILE}-wal"
    frame = 24 + 4096
    content = bytearray(wal.read_bytes())
    content[32 + 60 * frame + 100] ^= 1
    wal.write_bytes(content)

    async with outbox_on(state, epochs=epochs) as rig:
        await salvaged(rig)
        receipts = {StoreReader(state).session(name)[0].receipt for name in names}
        assert receipts == {Receipt("epoch-1", number) for number in range(1, 41)}


async def test_salvage_of_a_full_disk_is_postponed(tmp_path: Path) -> None:
    epochs = EpochIds()
    await captured(tmp_path, epochs)
    set_aside(tmp_path)

    async with outbox_on(tmp_path, epochs=epochs) as rig:
        await rig.writer.check(PATIENCE_SECONDS)
        await Salvage(rig.outbox.access, tmp_path, 2**60, extract_here).run_once()
        assert StoreReader(tmp_path).status().salvage == SalvageStatus(1, 0, 0)


async def test_database_quarantined_before_delivery_is_salvaged_with_what_was_fed_in(
    tmp_path: Path,
) -> None:
    epochs = EpochIds()
    receipts = await captured(tmp_path, epochs)
    set_aside(tmp_path)
    async with outbox_on(tmp_path, epochs=epochs) as rig:
        await salvaged(rig)
        receipts += await rig.capture(session("three"))
    set_aside(tmp_path)

    async with outbox_on(tmp_path, epochs=epochs) as rig:
        names = [name for name, _ in await salvaged(rig)]
        assert names == ["one", "one", "two", "two", "three"]
        again = await rig.capture(session("one"), answer("one"), session("two"), session("three"))
        assert again == [*receipts[:3], receipts[4]]


async def test_extraction_killed_at_any_step_continues_there(tmp_path: Path) -> None:
    killed = killed_store(tmp_path)
    steps = 0

    def kill_soon(_seconds: float) -> None:
        nonlocal steps
        steps += 1
        if steps % 2:
            raise KeyboardInterrupt

    while True:
        with contextlib.suppress(KeyboardInterrupt):
            extract(killed, 0, kill_soon)
            break
    assert steps > len(range(3))
    assert len(read_captures(killed, 0, 1000)) == len(NAMES)


@pytest.mark.process
async def test_extraction_in_its_own_process_begins_again_on_a_damaged_scratch_file(
    tmp_path: Path,
) -> None:
    place = killed_store(tmp_path)
    (place / SCRATCH_FILE).write_bytes(b"no database".ljust(4096))

    with pytest.raises(ExtractionError):
        await extract_in_process(place, 0)
    await extract_in_process(place, 0)

    assert len(read_captures(place, 0, 1000)) == len(NAMES)
