"""A command that a signal ends leaves no unfinished file: it would hold customers' addresses."""

import asyncio
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from agent.store.db.connect import DATABASE_FILE
from tests.support.agent.store import opened, record, session

pytestmark = pytest.mark.process


def locked(database: Path) -> sqlite3.Connection:
    """Return a connection without which nobody can read: a backup waits for it."""
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("PRAGMA locking_mode=EXCLUSIVE").fetchall()
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("CREATE TABLE of_another_program (number)")
    connection.execute("COMMIT")
    return connection


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
async def test_backup_that_a_signal_ends_leaves_no_file(
    tmp_path: Path, number: signal.Signals
) -> None:
    state, target = tmp_path / "state", tmp_path / "target"
    target.mkdir()
    with opened(state) as store:
        record(store, session("one"))
    config = tmp_path / "agent.toml"
    config.write_text(f'[storage]\ndirectory = "{state}"\n')
    with closing(locked(state / DATABASE_FILE)):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "agent", "backup", "--config", str(config)),
            str(target / "copy.db"),
            stderr=asyncio.subprocess.DEVNULL,
        )
        async with asyncio.timeout(30):
            while not list(target.iterdir()):  # noqa: ASYNC110 - another process's
                await asyncio.sleep(0.01)
        process.send_signal(number)

    assert await process.wait() != 0
    assert list(target.iterdir()) == []
