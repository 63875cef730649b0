"""Opening: what a killed process left is on the disk before anything is answered from it."""

import functools
import os
import re
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from agent.facts import Receipt, Recorded
from agent.store.db.connect import DATABASE_FILE
from agent.store.files.storage_errors import StorageDown
from tests.agent.store.parts import (
    AT,
    KEY_FILE,
    Epochs,
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
    """Copy the database file alone: what it holds by itself."""
    place.mkdir()
    shutil.copy(directory / DATABASE_FILE, place)
    return place


def test_a_wal_left_behind_is_settled_before_the_first_answer(tmp_path: Path) -> None:
    """A repeat is answered without a write, so nothing else would sync what it rests on."""
    epochs = Epochs()
    with opened(tmp_path / "live", epochs) as store:
        record(store, session("one"))
        crashed = crashed_copy(tmp_path / "live", tmp_path / "crashed")
    assert (crashed / WAL_FILE).stat().st_size > 0
    with opened(crashed, epochs) as store:
        alone = without_wal(crashed, tmp_path / "alone")
        assert query(alone, "SELECT correlation_id FROM session") == [("one",)]
        assert record(store, session("one")) == [Recorded(Receipt("epoch-1", 1), repeated=True)]


def test_a_wal_that_a_reader_holds_is_synced_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody looks into the database with a tool of his own and goes to lunch."""
    synced: list[str] = []
    epochs = Epochs()

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


def test_the_pragmas_that_promises_rest_on_are_set(tmp_path: Path) -> None:
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


def test_a_failed_group_is_rolled_back_and_its_own_error_is_seen(tmp_path: Path) -> None:
    with opened(tmp_path) as store, pytest.raises(ZeroDivisionError):
        store.run(lambda connection: connection.execute("DELETE FROM epoch").rowcount / 0)
    with opened(tmp_path) as store:
        assert store.numbering.last == Receipt("epoch-1", 0)


def test_a_boot_of_the_machine_is_noted_once(tmp_path: Path) -> None:
    epochs = Epochs()
    for boot_id in ("boot-1", "boot-1", "boot-2", "boot-1"):
        with closing(opener(tmp_path, epochs=epochs, boot_id=boot_id).open()) as store:
            store.record([(session(f"in {boot_id}"), AT)])
    assert query(tmp_path, "SELECT number, boot_id FROM boot") == [(1, "boot-1"), (2, "boot-2")]
    assert query(tmp_path, "SELECT boot_number FROM event ORDER BY position") == [(1,), (2,)]


def test_a_closed_store_leaves_one_file_that_holds_all(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        record(store, session("one"))
    assert not (tmp_path / WAL_FILE).exists()
    assert query(tmp_path, "SELECT correlation_id FROM session") == [("one",)]


def test_a_checkpoint_carries_the_wal_over_while_the_store_is_open(tmp_path: Path) -> None:
    with opened(tmp_path / "state") as store:
        record(store, session("one"))
        assert store.pages_since_checkpoint > 0
        store.checkpoint()
        assert store.pages_since_checkpoint == 0
        alone = without_wal(tmp_path / "state", tmp_path / "alone")
    assert query(alone, "SELECT correlation_id FROM session") == [("one",)]


def test_a_key_that_cannot_be_made_is_named_and_not_the_storage_directory(tmp_path: Path) -> None:
    """The key may be a credential, or lie on a disk of its own."""
    key_file = tmp_path / "elsewhere" / KEY_FILE
    opening = replace(opener(tmp_path / "state"), key_file=key_file)
    with pytest.raises(StorageDown, match=re.escape(f"{key_file}.new cannot be used (No such")):
        opening.open()


def test_a_key_made_beside_an_older_database_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody restored the database and forgot the key: what is lost must be said."""
    with opened(tmp_path) as store:
        record(store, session("one"), answer("one"))
    assert "store.key_made" not in caplog.messages
    (tmp_path / KEY_FILE).unlink()
    with opened(tmp_path) as store:
        record(store, session("two"))
    assert caplog.messages.count("store.key_made") == 1
