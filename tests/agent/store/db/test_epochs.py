"""Epochs and sequence numbers: a number is issued once; a suspect file gets a new epoch."""

import shutil
import sqlite3
from pathlib import Path

import pytest

from agent.facts import Receipt, Recorded
from agent.store.db.epochs import MARK_MISSING, STEPPED_BACK, Epochs, EpochStart
from agent.store.files.high_water_mark import MARK_FILE, read_high_water_mark
from agent.store.files.storage_errors import CorruptRow, StorageDownError
from agent.store.journal.insert import GroupInserter
from tests.support.agent.store import EpochIds, change, crashed_copy, opened, query, record, session


def receipts(directory: Path, epochs: EpochIds, *names: str) -> list[Receipt]:
    """Open the store, record sessions, close it; return their receipts."""
    with opened(directory, epochs) as store:
        outcomes = record(store, *[session(name) for name in names])
    return [outcome.receipt for outcome in outcomes if isinstance(outcome, Recorded)]


def reasons(directory: Path) -> list[object]:
    """Return the reason of each epoch."""
    return [row[0] for row in query(directory, "SELECT reason FROM epoch ORDER BY number")]


def test_new_file_begins_an_epoch_at_one(tmp_path: Path) -> None:
    assert receipts(tmp_path, EpochIds(), "a", "b") == [
        Receipt("epoch-1", 1),
        Receipt("epoch-1", 2),
    ]
    assert reasons(tmp_path) == ["new file"]


def test_numbering_continues_after_a_restart(tmp_path: Path) -> None:
    epochs = EpochIds()
    receipts(tmp_path, epochs, "a", "b")
    assert receipts(tmp_path, epochs, "c") == [Receipt("epoch-1", 3)]


def test_numbering_continues_after_a_crash(tmp_path: Path) -> None:
    epochs = EpochIds()
    with opened(tmp_path / "live", epochs) as store:
        record(store, session("a"), session("b"))
        crashed = crashed_copy(tmp_path / "live", tmp_path / "crashed")
    assert receipts(crashed, epochs, "c") == [Receipt("epoch-1", 3)]


def test_lost_wal_starts_a_new_epoch(tmp_path: Path) -> None:
    """SQLite silently opens the rest."""
    epochs = EpochIds()
    receipts(tmp_path / "live", epochs, "a", "b")
    with opened(tmp_path / "live", epochs) as store:
        record(store, session("c"))
        crashed = crashed_copy(tmp_path / "live", tmp_path / "crashed")
    (crashed / "agent.db-wal").unlink()
    assert receipts(crashed, epochs, "d") == [Receipt("epoch-2", 1)]
    assert reasons(crashed)[1] == STEPPED_BACK


def test_restored_backup_starts_a_new_epoch(tmp_path: Path) -> None:
    epochs = EpochIds()
    receipts(tmp_path / "live", epochs, "a", "b")
    shutil.copytree(tmp_path / "live", tmp_path / "backup")
    receipts(tmp_path / "live", epochs, "c")
    shutil.copy(tmp_path / "backup" / "agent.db", tmp_path / "live" / "agent.db")
    assert receipts(tmp_path / "live", epochs, "d", "e") == [
        Receipt("epoch-2", 1),
        Receipt("epoch-2", 2),
    ]
    assert receipts(tmp_path / "live", epochs, "f") == [Receipt("epoch-2", 3)]


def test_backup_from_before_the_current_epoch_starts_a_new_one(tmp_path: Path) -> None:
    """The mark has an epoch unknown to the backup."""
    epochs = EpochIds()
    receipts(tmp_path / "live", epochs, "a", "b")
    shutil.copytree(tmp_path / "live", tmp_path / "backup")
    receipts(tmp_path / "live", epochs, "c")
    for _ in range(2):
        shutil.copy(tmp_path / "backup" / "agent.db", tmp_path / "live" / "agent.db")
        (receipt,) = receipts(tmp_path / "live", epochs, "d")
    assert receipt == Receipt("epoch-3", 1)
    assert reasons(tmp_path / "live")[1] == (
        "restored backup: the file does not know the epoch last used here"
    )


def test_image_from_before_the_first_capture_starts_a_new_epoch(tmp_path: Path) -> None:
    """It has no event and no cursor, as a file with purged events and a damaged cursor."""
    epochs = EpochIds()
    live, image = tmp_path / "live", tmp_path / "image"
    receipts(live, epochs)
    shutil.copytree(live, image)
    receipts(live, epochs, "a", "b")
    shutil.copy(image / "agent.db", live / "agent.db")
    assert receipts(live, epochs, "c") == [Receipt("epoch-2", 1)]
    assert reasons(live)[1] == STEPPED_BACK
    lost = "SELECT epoch, held_through, lost_through FROM lost_captures"
    assert query(live, lost) == [("epoch-1", 0, 2)]


def test_copy_put_back_without_its_mark_starts_a_new_epoch(tmp_path: Path) -> None:
    """Nothing shows that it is the newest: its numbers may have been given out already."""
    epochs = EpochIds()
    receipts(tmp_path, epochs, "a")
    (tmp_path / MARK_FILE).unlink()
    assert receipts(tmp_path, epochs, "b") == [Receipt("epoch-2", 1)]
    assert reasons(tmp_path)[1] == MARK_MISSING


def test_mark_that_cannot_be_written_costs_one_epoch_only(tmp_path: Path) -> None:
    epochs = EpochIds()
    receipts(tmp_path, epochs, "a")
    for _ in range(3):
        (tmp_path / MARK_FILE).unlink()
        receipts(tmp_path, epochs)
    assert len(reasons(tmp_path)) == 2


def test_mark_older_than_the_file_keeps_the_epoch(tmp_path: Path) -> None:
    """After a power cut: the WAL is synced at each commit, the mark every few seconds."""
    epochs = EpochIds()
    receipts(tmp_path, epochs, "a")
    old = (tmp_path / MARK_FILE).read_bytes()
    receipts(tmp_path, epochs, "b", "c")
    (tmp_path / MARK_FILE).write_bytes(old)
    assert receipts(tmp_path, epochs, "d") == [Receipt("epoch-1", 4)]


def test_crash_before_the_new_epoch_is_in_the_mark_starts_another_epoch(tmp_path: Path) -> None:
    epochs = EpochIds()
    receipts(tmp_path, epochs, "a", "b")
    mark = (tmp_path / MARK_FILE).read_bytes()
    change(
        tmp_path, "DELETE FROM event WHERE position = 2", "DELETE FROM session WHERE position = 2"
    )
    with opened(tmp_path, epochs) as store:
        assert store.epochs.last == Receipt("epoch-2", 0)
    (tmp_path / MARK_FILE).write_bytes(mark)
    assert receipts(tmp_path, epochs, "c") == [Receipt("epoch-3", 1)]


@pytest.mark.parametrize("with_mark", [True, False])
def test_numbers_of_a_purged_tail_are_not_reused(tmp_path: Path, with_mark: bool) -> None:  # noqa: FBT001 - a case
    """A shop closed for a month: everything is delivered and purged; the watermark remembers."""
    epochs = EpochIds()
    receipts(tmp_path, epochs, "a", "b", "c")
    change(
        tmp_path,
        "INSERT INTO destination (name, watermark) VALUES ('central', 3)",
        "DELETE FROM event",
        "DELETE FROM session",
    )
    if not with_mark:
        (tmp_path / MARK_FILE).unlink()
    new = Receipt("epoch-1", 4) if with_mark else Receipt("epoch-2", 1)
    assert receipts(tmp_path, epochs, "d") == [new]
    assert query(tmp_path, "SELECT position FROM event") == [(4,)]


def test_number_of_a_purged_event_settled_ahead_is_not_reused(tmp_path: Path) -> None:
    epochs = EpochIds()
    receipts(tmp_path, epochs, "a", "b")
    change(
        tmp_path,
        "INSERT INTO settled VALUES ('central', 2, 0)",
        "DELETE FROM event WHERE position = 2",
        "DELETE FROM session WHERE position = 2",
    )
    assert receipts(tmp_path, epochs, "c") == [Receipt("epoch-1", 3)]


def test_failed_commit_uses_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in memory nor in the mark: the next capture gets the unused number."""

    def fail(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    with opened(tmp_path) as store:
        record(store, session("a"))
        with monkeypatch.context() as fault:
            fault.setattr(GroupInserter, "insert", fail)
            with pytest.raises(StorageDownError):
                record(store, session("b"))
        assert read_high_water_mark(tmp_path) == Receipt("epoch-1", 1)
        assert record(store, session("c")) == [Recorded(Receipt("epoch-1", 2), repeated=False)]
    assert query(tmp_path, "SELECT correlation_id FROM session") == [("a",), ("c",)]


def test_positions_map_to_receipts_in_every_epoch() -> None:
    epochs = Epochs([EpochStart("first", 0), EpochStart("empty", 5), EpochStart("third", 5)], 7)
    assert [str(epochs.receipt(position)) for position in range(1, 8)] == [
        *(f"first/{n}" for n in range(1, 6)),
        "third/1",
        "third/2",
    ]
    lengths = {known.epoch: known.last_sequence for known in epochs.ranges}
    assert lengths == {"first": 5, "empty": 0, "third": 2}
    assert epochs.range_of("none") is None
    with pytest.raises(CorruptRow):
        epochs.receipt(0)
