"""Scrubbing removes deleted rows from the pages of a SQLite file."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from sync.receiver.db.sqlite import SqliteFile
from tests.support.head_office.files import files_with

ADD = "INSERT INTO boots (store_id, till_id, boot_id, zero_at) VALUES ('0042', 'till-1', ?, '')"
GUEST = "guest@example.com"


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteFile]:
    database = SqliteFile(tmp_path / "hq.db")
    await database.open()
    yield database
    await database.close()


def leave_traces(file: Path) -> None:
    """Delete rows without overwriting them, as other tools do."""
    with closing(sqlite3.connect(file, isolation_level=None)) as tool:
        tool.execute("PRAGMA secure_delete=OFF")
        tool.executemany(ADD, [(f"{number} {GUEST}",) for number in range(100)])
        tool.execute("DELETE FROM boots WHERE boot_id LIKE ?", (f"% {GUEST}",))
        tool.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@pytest.mark.process
async def test_no_trace_of_a_deleted_row_is_left(database: SqliteFile, tmp_path: Path) -> None:
    leave_traces(tmp_path / "hq.db")
    before = await files_with(tmp_path, GUEST)

    await database.scrub()

    assert (before, await files_with(tmp_path, GUEST)) == (["hq.db"], [])


async def test_other_rows_survive(database: SqliteFile, tmp_path: Path) -> None:
    await database.write(lambda connection: connection.exec_driver_sql(ADD, ("boot",)).close())

    await database.scrub()

    found = await database.read(
        lambda connection: connection.execute(text("SELECT boot_id FROM boots")).scalar()
    )
    assert found == "boot"


async def test_scrub_is_idempotent_and_writing_goes_on(database: SqliteFile) -> None:
    await database.scrub()
    await database.scrub()

    await database.write(lambda connection: connection.exec_driver_sql(ADD, ("boot",)).close())
