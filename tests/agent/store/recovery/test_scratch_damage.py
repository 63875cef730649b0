"""A scratch file that a kill or a failing disk left behind is begun again; it holds nothing up."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from agent.store.files.quarantine import SCRATCH_FILE, list_quarantined, list_unfinished
from agent.store.recovery.extract import extract
from tests.support.agent.damage import PAGE
from tests.support.agent.outbox import outbox_on
from tests.support.agent.salvage import ignore_pause, salvage_of, set_aside
from tests.support.agent.store import EpochIds, answer, session
from tests.support.patience import PATIENCE_SECONDS


def leave_empty(scratch: Path) -> None:
    """Leave the file of a process that was killed before its first transaction."""
    scratch.write_bytes(b"")


def leave_hot_journal(scratch: Path) -> None:
    """Leave the files of a process that was killed within its first transaction."""
    with closing(sqlite3.connect(scratch, isolation_level=None)) as connection:
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("BEGIN")
        connection.execute("CREATE TABLE progress (versions, is_complete, unreadable, is_whole)")
        connection.executemany(
            "INSERT INTO progress VALUES (randomblob(4000), 0, 0, 0)", [()] * 100
        )
        journal = scratch.with_name(f"{scratch.name}-journal")
        kept = scratch.read_bytes(), journal.read_bytes()
    scratch.write_bytes(kept[0])
    journal.write_bytes(kept[1])


def damage_epochs(scratch: Path) -> None:
    """Damage the table of epochs of a complete file."""
    _damage_table(scratch, "epoch")


def damage_captures(scratch: Path) -> None:
    """Damage the table of captures of a complete file."""
    _damage_table(scratch, "event")


def damage_header(scratch: Path) -> None:
    """Overwrite the header of a complete file."""
    extract(scratch.parent, 0, ignore_pause)
    with scratch.open("r+b") as file:
        file.write(bytes(100))


def _damage_table(scratch: Path, table: str) -> None:
    extract(scratch.parent, 0, ignore_pause)
    with closing(sqlite3.connect(scratch)) as connection:
        query = "SELECT rootpage FROM sqlite_schema WHERE name = ?"
        (page,) = connection.execute(query, (table,)).fetchone()
    with scratch.open("r+b") as file:
        file.seek((page - 1) * PAGE)
        file.write(b"\xff" * PAGE)


@pytest.mark.parametrize(
    "leave",
    [leave_empty, leave_hot_journal, damage_epochs, damage_captures, damage_header],
)
async def test_salvage_begins_again_on_an_unusable_scratch_file(
    tmp_path: Path, leave: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.store.recovery.salvage._RETRY_SECONDS", 0)
    epochs = EpochIds()
    async with outbox_on(tmp_path, epochs=epochs) as rig:
        await rig.capture(session("one"), answer("one"))
    place = set_aside(tmp_path)
    leave(place / SCRATCH_FILE)
    async with outbox_on(tmp_path, epochs=epochs) as rig:
        await rig.writer.check(PATIENCE_SECONDS)
        salvage = salvage_of(rig)
        for _ in range(3):
            await salvage.run_once()
        events = (await rig.window()).events
        assert [one.correlation_id for one in events] == ["one", "one"]
        assert list_quarantined(tmp_path) == [place.name]
        await rig.deliver(*events)
        await salvage.run_once()
        assert list_unfinished(tmp_path) == []


@pytest.mark.parametrize("lose", [Path.unlink, damage_header])
async def test_database_whose_scratch_file_is_lost_after_salvage_is_kept(
    tmp_path: Path, lose: Callable[[Path], None]
) -> None:
    epochs = EpochIds()
    async with outbox_on(tmp_path, epochs=epochs) as rig:
        await rig.capture(session("one"))
    place = set_aside(tmp_path)
    async with outbox_on(tmp_path, epochs=epochs) as rig:
        await rig.writer.check(PATIENCE_SECONDS)
        await salvage_of(rig).run_once()
        lose(place / SCRATCH_FILE)
        await rig.deliver(*(await rig.window()).events)
        await salvage_of(rig).run_once()
    assert (place / "agent.db").exists()
    assert list_unfinished(tmp_path) == []
