"""A command that a signal ends leaves no unfinished file: it would hold customers' addresses."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent.store.db.connect import DATABASE_FILE
from tests.support.agent.store import opened, record, session
from tests.support.patience import PATIENCE_SECONDS

pytestmark = pytest.mark.process


# In a process of its own: a lock ends when its process closes any descriptor of the file.
_LOCKER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA locking_mode=EXCLUSIVE").fetchall()
connection.execute("CREATE TABLE of_another_program (number)")
print("locked", flush=True)
sys.stdin.read()
"""


@asynccontextmanager
async def locked(database: Path) -> AsyncIterator[None]:
    """Lock `database` against all readers until the block ends: a backup waits."""
    pipe = asyncio.subprocess.PIPE
    locker = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _LOCKER, str(database), stdin=pipe, stdout=pipe
    )
    assert locker.stdout is not None
    await locker.stdout.readline()
    yield
    await locker.communicate(b"")


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
    async with locked(state / DATABASE_FILE):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "agent", "backup", "--config", str(config)),
            str(target / "copy.db"),
            stderr=asyncio.subprocess.DEVNULL,
        )
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not list(target.iterdir()):  # noqa: ASYNC110 - another process's
                await asyncio.sleep(0.01)
        process.send_signal(number)

    assert await process.wait() != 0
    assert list(target.iterdir()) == []
