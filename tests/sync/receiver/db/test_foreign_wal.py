"""A restored ledger beside the log of the one before: SQLite must not mix them."""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from sync.receiver.db.sqlite import SqliteFile
from sync.runtime.files.sqlite_backup import back_up


def insert(connection: sqlite3.Connection, rows: int) -> None:
    for _ in range(rows):
        connection.execute("INSERT INTO filler (content) VALUES (?)", (os.urandom(3_000),))


async def open_and_close(path: Path) -> None:
    database = SqliteFile(path)
    await database.open()
    await database.close()


@pytest.fixture(params=["backup", "cp"])
async def restored(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return a ledger of which only the main file was restored after a crash: 50 rows."""
    live, copy, restored = (tmp_path / name / "hq.db" for name in ("live", "copy", "restored"))
    await open_and_close(live)
    copy.parent.mkdir()
    restored.parent.mkdir()
    with closing(sqlite3.connect(live, isolation_level=None)) as connection:
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute("CREATE TABLE filler (number INTEGER PRIMARY KEY, content BLOB)")
        insert(connection, 50)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        if request.param == "backup":
            back_up(live, copy, lambda _: None)
        else:
            shutil.copyfile(live, copy)
        insert(connection, 100)
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        insert(connection, 50)
        shutil.copyfile(copy, restored)
        shutil.copyfile(f"{live}-wal", f"{restored}-wal")
    return restored


async def test_log_of_another_state_is_set_aside(
    restored: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await open_and_close(restored)

    with closing(sqlite3.connect(restored)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("SELECT count(*) FROM filler").fetchone() == (50,)
    assert (restored.parent / "hq.db-wal.of-another-state").exists()
    assert "ledger.log_set_aside" in caplog.messages


async def test_own_log_of_a_restored_ledger_is_read_after_a_crash(
    restored: Path, tmp_path: Path
) -> None:
    restored.with_name("hq.db-wal").unlink()
    await open_and_close(restored)
    (tmp_path / "crashed").mkdir()
    crashed = tmp_path / "crashed" / "hq.db"
    with closing(sqlite3.connect(restored, isolation_level=None)) as connection:
        insert(connection, 100)
        shutil.copyfile(restored, crashed)
        shutil.copyfile(f"{restored}-wal", f"{crashed}-wal")

    await open_and_close(crashed)

    with closing(sqlite3.connect(crashed)) as connection:
        assert connection.execute("SELECT count(*) FROM filler").fetchone() == (150,)


async def test_log_of_a_vacuum_fits_the_larger_file(tmp_path: Path) -> None:
    live, crashed = tmp_path / "live" / "hq.db", tmp_path / "crashed" / "hq.db"
    await open_and_close(live)
    crashed.parent.mkdir()
    with closing(sqlite3.connect(live, isolation_level=None)) as connection:
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute("CREATE TABLE filler (number INTEGER PRIMARY KEY, content BLOB)")
        insert(connection, 100)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        connection.execute("DELETE FROM filler WHERE number > 10")
        connection.execute("VACUUM")
        shutil.copyfile(live, crashed)
        shutil.copyfile(f"{live}-wal", f"{crashed}-wal")

    await open_and_close(crashed)

    with closing(sqlite3.connect(crashed)) as connection:
        assert connection.execute("SELECT count(*) FROM filler").fetchone() == (10,)
    assert not (crashed.parent / "hq.db-wal.of-another-state").exists()
