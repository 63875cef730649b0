"""Read-only connections change nothing, in any state of the files."""

import sqlite3
from pathlib import Path

import pytest

from agent.store.db.connect import DATABASE_FILE, read_only
from agent.store.db.wal import OrphanWal
from agent.store.files.quarantine import list_quarantined
from agent.store.queries.reader import StoreReader
from tests.support.agent.damage import killed_store
from tests.support.agent.outbox import outbox_on
from tests.support.agent.store import opened, record, session


def test_reader_does_not_delete_the_wal_beside_an_empty_database(
    tmp_path: Path,
) -> None:
    directory = killed_store(tmp_path)
    (directory / DATABASE_FILE).write_bytes(b"")
    wal = directory / f"{DATABASE_FILE}-wal"
    before = wal.read_bytes()

    with pytest.raises(OrphanWal, match="which is empty or missing"):
        StoreReader(directory).status()

    assert wal.read_bytes() == before


async def test_schema_that_is_not_text_is_damage_for_readers_and_writer(tmp_path: Path) -> None:
    """The driver raises no error of SQLite for it, because it cannot decode the message."""
    with opened(tmp_path) as store:
        record(store, session("one"))
    database = tmp_path / DATABASE_FILE
    content = database.read_bytes()
    name = b"tablesessionsession"
    assert name in content
    content = content.replace(name, b"table\x8aession\x8aession")
    database.write_bytes(content.replace(b"CREATE TABLE session", b"CREATE TABXE session"))

    with pytest.raises(sqlite3.DatabaseError), read_only(tmp_path) as connection:
        connection.execute("SELECT * FROM epoch")
    async with outbox_on(tmp_path) as rig:
        await rig.capture(session("two"))
        assert list_quarantined(tmp_path)
