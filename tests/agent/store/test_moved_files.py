"""The database is not at its path any more: noticed at the next commit, saved whole."""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from agent.facts import Receipt
from agent.store.db.connect import DATABASE_FILE, read_only
from agent.store.db.wal import wal_of
from agent.store.files.quarantine import QUARANTINE
from agent.store.files.storage_errors import (
    DatabaseMoved,
    StorageDamagedError,
    StorageFullError,
    StorageMovedError,
)
from agent.store.rescue import put_in_place, save_whole
from agent.store.store import Store
from tests.support.agent.store import (
    EpochIds,
    answer,
    new,
    opened,
    opener,
    query,
    record,
    repeat,
    session,
)

NAMES = "SELECT correlation_id FROM session ORDER BY position"


def grown(store: Store, count: int) -> None:
    """Record so many sessions and copy them into the database file."""
    record(store, *[session(f"s{n}") for n in range(count)])
    store.checkpoint()


def test_commit_into_removed_file_is_not_answered(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        record(store, session("one"))
        (tmp_path / DATABASE_FILE).unlink()
        with pytest.raises(StorageMovedError):
            record(store, session("two"))


def test_checkpoint_is_not_taken_for_a_change_by_others(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        for count in range(3):
            record(store, session(f"s{count}"), answer(f"s{count}"))
            store.checkpoint()
            store.run_maintenance()
            store.begin_scrub()
            store.scrub_step(0)


def test_file_put_back_is_used_again(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        record(store, session("zero"))
        (tmp_path / DATABASE_FILE).rename(tmp_path / "aside")
        with pytest.raises(StorageMovedError):
            record(store, session("one"))
        (tmp_path / "aside").rename(tmp_path / DATABASE_FILE)
        assert record(store, session("one")) == [repeat(2)]


def test_removed_file_is_saved_with_what_was_committed_into_it(tmp_path: Path) -> None:
    opening = opener(tmp_path)
    store = opening.open()
    grown(store, 300)
    (tmp_path / DATABASE_FILE).unlink()
    with pytest.raises(StorageMovedError):
        record(store, session("late"))
    opening.rescue(store)
    store.close()
    with closing(opening.open()) as again:
        assert again.epochs.last == Receipt("epoch-1", 301)
        assert record(again, session("next")) == [new(302)]
    assert len(query(tmp_path, NAMES)) == 302
    assert not (tmp_path / QUARANTINE).exists()


def test_foreign_file_is_set_aside_and_not_overwritten(tmp_path: Path) -> None:
    opening, state = opener(tmp_path / "state"), tmp_path / "state"
    store = opening.open()
    record(store, session("one"))
    with opened(tmp_path / "other") as other:
        record(other, session("foreign"))
    (tmp_path / "other" / DATABASE_FILE).rename(state / DATABASE_FILE)
    opening.rescue(store)
    store.close()
    assert query(state, NAMES) == [("one",)]
    (aside,) = (state / QUARANTINE).iterdir()
    # Our WAL would be replayed into the foreign file.
    assert not wal_of(aside / DATABASE_FILE).exists()
    assert query(aside, NAMES) == [("foreign",)]


def test_older_copy_over_the_open_file_is_noticed_and_damage_is_said(tmp_path: Path) -> None:
    """Only the WAL and the cache still hold what was written since."""
    opening = opener(tmp_path)
    store = opening.open()
    grown(store, 10)
    shutil.copy(tmp_path / DATABASE_FILE, tmp_path / "copy")
    store.connection.execute("PRAGMA cache_size=10")
    record(store, *[session(f"more-{n}") for n in range(2000)])
    store.checkpoint()
    shutil.copyfile(tmp_path / "copy", tmp_path / DATABASE_FILE)
    with pytest.raises((StorageMovedError, StorageDamagedError)):
        record(store, session("late"))
    with pytest.raises(StorageDamagedError):
        opening.rescue(store)
    store.close()


def test_copy_over_the_open_file_whose_changes_are_in_the_wal_loses_nothing(
    tmp_path: Path,
) -> None:
    opening = opener(tmp_path)
    store = opening.open()
    grown(store, 10)
    shutil.copy(tmp_path / DATABASE_FILE, tmp_path / "copy")
    record(store, session("more"))
    shutil.copyfile(tmp_path / "copy", tmp_path / DATABASE_FILE)
    os.utime(tmp_path / DATABASE_FILE, ns=(1, 1))
    with pytest.raises(StorageMovedError):
        record(store, session("late"))
    opening.rescue(store)
    store.close()
    assert len(query(tmp_path, NAMES)) == 12


def test_full_disk_leaves_the_open_connection_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening = opener(tmp_path)
    store = opening.open()
    record(store, session("one"))
    (tmp_path / DATABASE_FILE).unlink()
    with monkeypatch.context() as full:
        full.setattr("agent.store.rescue.free_bytes", lambda _: 1000)
        with pytest.raises(StorageFullError, match="1000 free"):
            opening.rescue(store)
    assert not (tmp_path / DATABASE_FILE).exists()
    opening.rescue(store)
    store.close()
    assert query(tmp_path, NAMES) == [("one",)]


def test_file_whose_time_a_backup_tool_has_set_is_used_on_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening = opener(tmp_path)
    store = opening.open()
    grown(store, 10)
    os.utime(tmp_path / DATABASE_FILE, ns=(1, 1))
    with pytest.raises(StorageMovedError):
        record(store, session("late"))
    monkeypatch.setattr("agent.store.rescue.free_bytes", lambda _: 1000)
    opening.rescue(store)
    store.close()
    assert len(query(tmp_path, NAMES)) == 11


def test_older_copy_over_the_open_file_is_not_used_on_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening = opener(tmp_path)
    store = opening.open()
    grown(store, 10)
    shutil.copy(tmp_path / DATABASE_FILE, tmp_path / "copy")
    record(store, *[session(f"more-{n}") for n in range(2000)])
    store.checkpoint()
    shutil.copyfile(tmp_path / "copy", tmp_path / DATABASE_FILE)
    monkeypatch.setattr("agent.store.rescue.free_bytes", lambda _: 1000)
    with pytest.raises(StorageFullError):
        opening.rescue(store)
    store.close()


@pytest.mark.parametrize("found", ["nothing", "foreign"])
def test_crash_before_the_saved_copy_is_in_place_is_repaired_at_the_next_start(
    tmp_path: Path, found: str
) -> None:
    database, epochs = tmp_path / DATABASE_FILE, EpochIds()
    opening = opener(tmp_path, epochs=epochs)
    store = opening.open()
    record(store, session("one"))
    database.unlink()
    save_whole(store.connection, database)
    store.close()
    if found == "foreign":
        with closing(sqlite3.connect(database)) as other:
            other.execute("CREATE TABLE other (value)")
    with closing(opening.open()) as again:
        assert again.epochs.last == Receipt("epoch-1", 1)
        assert record(again, session("one")) == [repeat(1)]
    assert (tmp_path / QUARANTINE).exists()


def test_incomplete_copy_of_a_crash_is_removed(tmp_path: Path) -> None:
    (tmp_path / f"{DATABASE_FILE}.saving").write_bytes(b"half")
    assert put_in_place(tmp_path / DATABASE_FILE, 0) is None
    assert list(tmp_path.iterdir()) == []


def test_leftover_wal_fits_the_saved_copy(tmp_path: Path) -> None:
    """A crash between the copy's last name and the removal of the WAL replays it."""
    state = tmp_path / "state"
    opening = opener(state)
    store = opening.open()
    grown(store, 200)
    record(store, session("in the WAL"))
    (state / DATABASE_FILE).unlink()
    save_whole(store.connection, state / DATABASE_FILE)
    (state / f"{DATABASE_FILE}.saved").rename(state / DATABASE_FILE)
    store.close()
    assert wal_of(state / DATABASE_FILE).stat().st_size > 0
    with closing(opening.open()) as again:
        assert again.epochs.last == Receipt("epoch-1", 201)
        assert again.connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_reader_does_not_open_a_file_of_the_same_name(tmp_path: Path) -> None:
    """It would truncate the index of the WAL under the writer's memory map."""
    with opened(tmp_path / "other"):
        pass
    with opened(tmp_path / "state") as store:
        record(store, session("one"))
        shutil.copy(tmp_path / "other" / DATABASE_FILE, tmp_path / "copy")
        (tmp_path / "copy").rename(tmp_path / "state" / DATABASE_FILE)
        with pytest.raises(DatabaseMoved), read_only(tmp_path / "state"):
            pass


def test_removed_lock_mark_and_key_are_made_again(tmp_path: Path) -> None:
    renewed: list[bool] = []
    opening = opener(tmp_path)
    opening.renew_lock = lambda: renewed.append(True)
    with closing(opening.open()) as store:
        record(store, session("one"))
        key = opening.key_file.read_bytes()
        opening.key_file.unlink()
        (tmp_path / "agent.mark").unlink()
        opening.restore_companions()
        store.run_maintenance()
        assert opening.key_file.read_bytes() == key
        assert (tmp_path / "agent.mark").read_text("ascii").startswith("epoch-1 1 ")
    assert renewed == [True]


def test_check_after_each_commit_costs_two_calls_of_stat(tmp_path: Path) -> None:
    calls: list[object] = []
    with opened(tmp_path) as store, pytest.MonkeyPatch.context() as patch:

        def counted(path: str) -> os.stat_result:
            calls.append(path)
            return os.stat(path)  # noqa: PTH116 - the call that is counted

        patch.setattr("agent.store.files.file_identity._stat", counted)
        store.require_in_place(with_index=False)
    assert len(calls) == 2
