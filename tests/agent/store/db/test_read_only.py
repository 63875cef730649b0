"""Read-only connections change nothing, in any state of the files."""

from pathlib import Path

import pytest

from agent.store.db.connect import DATABASE_FILE
from agent.store.db.wal import OrphanWal
from agent.store.queries.reader import StoreReader
from tests.support.agent.damage import killed_store


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
