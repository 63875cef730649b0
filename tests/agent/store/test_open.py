"""Opening: the commits of a killed process are synced before any answer relies on them."""

import functools
import os
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from agent.facts import Receipt, Recorded
from agent.store.db.connect import DATABASE_FILE
from agent.store.files.storage_errors import StorageDownError
from tests.support.agent.store import (
    KEY_FILE,
    EpochIds,
    answer,
    crashed_copy,
    opened,
    opener,
    query,
    record,
    session,
)

WAL_FILE = f"{DATABASE_FILE}-wal"


def without_wal(directory: Path, place: Path) -> Path:
    """Copy the database file without its WAL."""
    place.mkdir()
    shutil.copy(directory / DATABASE_FILE, place)
    return place


def test_leftover_wal_is_checkpointed_before_the_first_answer(tmp_path: Path) -> None:
    """A repeat is answered without a write, so nothing else would sync the original capture."""
    epochs = EpochIds()
    with opened(tmp_path / "live", epochs) as store:
        record(store, session("one"))
        crashed = crashed_copy(tmp_path / "live", tmp_path / "crashed")
    assert (crashed / WAL_FILE).stat().st_size > 0
    with opened(crashed, epochs) as store:
        alone = without_wal(crashed, tmp_path / "alone")
        assert query(alone, "SELECT correlation_id FROM session") == [("one",)]
        assert record(store, session("one")) == [Recorded(Receipt("epoch-1", 1), repeated=True)]


def test_leftover_wal_is_synced_even_while_a_reader_blocks_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operator has the database open in another tool."""
    synced: list[str] = []
    epochs = EpochIds()

    def note(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)

    with opened(tmp_path, epochs) as store:
        record(store, session("one"))
        store.checkpoint()
        with closing(sqlite3.connect(tmp_path / DATABASE_FILE, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM session").fetchall()
            record(store, session("two"))
            store.close()
            monkeypatch.setattr(os, "fdatasync", note)
            impatient = functools.partial(sqlite3.connect, timeout=0)
            monkeypatch.setattr("agent.store.db.connect.sqlite3.connect", impatient)
            with opened(tmp_path, epochs) as again:
                assert WAL_FILE in synced
                assert record(again, session("two")) == [
                    Recorded(Receipt("epoch-1", 2), repeated=True)
                ]


def test_durability_pragmas_are_set(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        set_to = {
            name: store.connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "secure_delete", "wal_autocheckpoint")
        }
    assert set_to == {
        "journal_mode": "wal",
        "synchronous": 2,
        "secure_delete": 1,
        "wal_autocheckpoint": 0,
    }


def test_failed_job_is_rolled_back_and_its_error_raised(tmp_path: Path) -> None:
    with opened(tmp_path) as store, pytest.raises(ZeroDivisionError):
        store.run(lambda connection: connection.execute("DELETE FROM epoch").rowcount / 0)
    with opened(tmp_path) as store:
        assert store.epochs.last == Receipt("epoch-1", 0)


def test_each_boot_is_inserted_once(tmp_path: Path) -> None:
    epochs = EpochIds()
    for boot_id in ("boot-1", "boot-1", "boot-2", "boot-1"):
        with closing(opener(tmp_path, epochs=epochs, boot_id=boot_id).open()) as store:
            record(store, session(f"in {boot_id}"))
    assert query(tmp_path, "SELECT number, boot_id FROM boot") == [(1, "boot-1"), (2, "boot-2")]
    assert query(tmp_path, "SELECT boot_number FROM event ORDER BY position") == [(1,), (2,)]


def test_closed_store_is_a_single_complete_file(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        record(store, session("one"))
    assert not (tmp_path / WAL_FILE).exists()
    assert query(tmp_path, "SELECT correlation_id FROM session") == [("one",)]


def test_checkpoint_copies_the_wal_into_the_open_database(tmp_path: Path) -> None:
    with opened(tmp_path / "state") as store:
        record(store, session("one"))
        assert store.pages_since_checkpoint > 0
        store.checkpoint()
        assert store.pages_since_checkpoint == 0
        alone = without_wal(tmp_path / "state", tmp_path / "alone")
    assert query(alone, "SELECT correlation_id FROM session") == [("one",)]


def test_error_names_the_key_file_that_cannot_be_created(tmp_path: Path) -> None:
    """The key may be a credential, or lie on another disk than the storage directory."""
    key_file = tmp_path / "elsewhere" / KEY_FILE
    opening = replace(opener(tmp_path / "state"), key_file=key_file)
    with pytest.raises(StorageDownError, match=re.escape(f"{key_file} cannot be used (No such")):
        opening.open()


def test_new_key_for_an_existing_database_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The database was restored without its key: the loss must be reported."""
    with opened(tmp_path) as store:
        record(store, session("one"), answer("one"))
    assert "store.key_created" not in caplog.messages
    (tmp_path / KEY_FILE).unlink()
    with opened(tmp_path) as store:
        record(store, session("two"))
    assert caplog.messages.count("store.key_created") == 1


def unusable_key(tmp_path: Path) -> None:
    (tmp_path / KEY_FILE).write_bytes(b"\0" * 45)


def unreadable_key(tmp_path: Path) -> None:
    (tmp_path / KEY_FILE).unlink()
    (tmp_path / KEY_FILE).mkdir()


@pytest.mark.parametrize("spoil", [unusable_key, unreadable_key])
def test_own_key_that_cannot_be_used_is_kept_aside_and_captures_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, spoil: Callable[[Path], None]
) -> None:
    with opened(tmp_path) as store:
        record(store, session("one"), answer("one"))
    spoil(tmp_path)

    with opened(tmp_path) as store:
        record(store, session("two"), answer("two"))

    assert query(tmp_path, "SELECT count(*) FROM event") == [(4,)]
    (kept,) = tmp_path.glob(f"{KEY_FILE}.unusable-*")
    (line,) = [one for one in caplog.records if one.message == "store.key_created"]
    assert kept.name in str(vars(line))
    with opened(tmp_path):
        assert caplog.messages.count("store.key_created") == 1


def test_key_file_that_the_administrator_named_is_never_replaced(tmp_path: Path) -> None:
    key_file = tmp_path / "elsewhere.key"
    key_file.write_text("no key")
    opening = replace(opener(tmp_path / "state"), key_file=key_file)

    with pytest.raises(StorageDownError, match="does not hold an encryption key"):
        opening.open()

    assert [one.name for one in tmp_path.iterdir() if one.is_file()] == ["elsewhere.key"]
    assert key_file.read_text() == "no key"
    key_file.unlink()
    opening.open().close()
