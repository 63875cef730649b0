"""The ledger's SQLite file: durable, one writer at a time, consistent after failures."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import OperationalError

from sync.receiver.db import lookup_statements
from sync.receiver.db.database import DatabaseLockedError
from sync.receiver.db.sqlite import SqliteFile
from sync.receiver.db.sqlite_write_lock import WriteLock
from tests.support.patience import PATIENCE_SECONDS

ADD = text(
    "INSERT INTO boots (store_id, till_id, boot_id, zero_at) VALUES ('0042', 'till-1', :boot, '')"
)
BOOTS = text("SELECT boot_id FROM boots")


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteFile]:
    database = SqliteFile(tmp_path / "hq.db")
    await database.open()
    yield database
    await database.close()


async def boots(database: SqliteFile) -> list[str]:
    return await database.read(lambda connection: list(connection.execute(BOOTS).scalars()))


async def add(database: SqliteFile, boot: str) -> None:
    await database.write(lambda connection: connection.execute(ADD, {"boot": boot}).close())


class Pause:
    """Work that blocks in its thread until `end`."""

    def __init__(self) -> None:
        self.reached, self._release = asyncio.Event(), threading.Event()
        self._loop = asyncio.get_running_loop()

    def __call__(self) -> None:
        self._loop.call_soon_threadsafe(self.reached.set)
        assert self._release.wait(PATIENCE_SECONDS)

    def end(self) -> None:
        self._release.set()


@pytest.fixture
async def pause() -> Pause:
    return Pause()


@pytest.mark.parametrize(
    ("pragma", "value"), [("journal_mode", "wal"), ("synchronous", 2), ("secure_delete", 1)]
)
async def test_pragmas_make_commits_durable_and_deletes_secure(
    database: SqliteFile, pragma: str, value: object
) -> None:
    asked = text(f"PRAGMA {pragma}")
    assert await database.write(lambda connection: connection.execute(asked).scalar()) == value


async def test_write_waits_for_the_lock_of_another_process(
    database: SqliteFile, tmp_path: Path
) -> None:
    """The lock is taken before SQLite: two connections that wait there can corrupt the file."""
    with closing(WriteLock(tmp_path / "hq.db")) as another:
        another.open()
        async with another.acquire():
            task = asyncio.ensure_future(add(database, "one"))
            await asyncio.wait([task], timeout=0.05)
            assert await boots(database) == []
        await task

    assert await boots(database) == ["one"]


async def test_write_takes_the_sqlite_lock_at_begin(
    database: SqliteFile, tmp_path: Path, pause: Pause
) -> None:
    """A transaction that reads before it writes can fail without waiting for the busy timeout."""
    task = asyncio.ensure_future(database.write(lambda _: pause()))
    await pause.reached.wait()

    with closing(sqlite3.connect(tmp_path / "hq.db", timeout=0, isolation_level=None)) as other:
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        pause.end()
        await task


async def test_read_connection_cannot_write(database: SqliteFile) -> None:
    with pytest.raises(OperationalError, match="readonly"):
        await database.read(lambda connection: connection.execute(ADD, {"boot": "one"}))


async def test_read_sees_one_snapshot(database: SqliteFile, pause: Pause) -> None:
    def look_twice(connection: Connection) -> tuple[object, object]:
        before = connection.execute(BOOTS).all()
        pause()
        return before, connection.execute(BOOTS).all()

    looking = asyncio.ensure_future(database.read(look_twice))
    await pause.reached.wait()
    await add(database, "one")
    pause.end()

    before, after = await looking
    assert before == after == []


async def test_failed_write_is_rolled_back(database: SqliteFile) -> None:
    def write(connection: Connection) -> None:
        connection.execute(ADD, {"boot": "one"})
        connection.execute(text("INSERT INTO nowhere VALUES (1)"))

    with pytest.raises(OperationalError):
        await database.write(write)

    assert await boots(database) == []


async def test_close_keeps_the_lock_until_a_slow_write_ends(
    database: SqliteFile, pause: Pause, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process could write at the same time, which damages a file of older SQLite."""
    monkeypatch.setattr("sync.receiver.db.sqlite_write_lock._TASKS_SECONDS", 0.01)
    writing = asyncio.ensure_future(database.write(lambda _: pause()))
    await pause.reached.wait()
    ending = asyncio.ensure_future(database.close())
    with closing(WriteLock(tmp_path / "hq.db")) as other:
        other.open()
        with pytest.raises(DatabaseLockedError):
            await other.acquire(0.2).__aenter__()
    pause.end()

    await asyncio.gather(writing, ending)


async def test_cancelled_write_completes_before_the_next_starts(
    database: SqliteFile, pause: Pause
) -> None:
    """As in a stop that times out: the caller got no response and retries."""

    def write(connection: Connection) -> None:
        connection.execute(ADD, {"boot": "one"})
        pause()

    task = asyncio.ensure_future(database.write(write))
    await pause.reached.wait()
    task.cancel()
    another = asyncio.ensure_future(add(database, "two"))
    await asyncio.wait([task, another], timeout=0.05)
    assert not task.done()
    assert await boots(database) == []
    pause.end()
    await asyncio.wait([task, another])

    assert task.cancelled()
    assert sorted(await boots(database)) == ["one", "two"]


async def test_close_is_idempotent(database: SqliteFile) -> None:
    await database.close()

    await database.close()


async def test_close_leaves_no_wal(database: SqliteFile, tmp_path: Path) -> None:
    await add(database, "one")

    await database.close()

    assert not (tmp_path / "hq.db-wal").exists()


LOOKUPS = {
    "ids": lookup_statements.SELECT_UNDER_IDS,
    "rejected sessions": lookup_statements.SELECT_REJECTED_SESSIONS,
    "alike answers": lookup_statements.select_alike_answers("sqlite"),
    "last gaps": lookup_statements.SELECT_LAST_GAPS,
}


@pytest.mark.parametrize("name", LOOKUPS)
async def test_lookup_for_a_batch_uses_an_index_for_each_id(
    database: SqliteFile, name: str
) -> None:
    asked = LOOKUPS[name].compile(dialect=sqlite.dialect(paramstyle="named"))
    explained = text(f"EXPLAIN QUERY PLAN {asked}")
    given = {
        "of_store": "0042",
        "of_till": "till-1",
        "of_epoch": "e",
        "ids": "[]",
        "keys": "[]",
        "most": 1,
    }

    steps = await database.read(
        lambda connection: connection.execute(explained, {**asked.params, **given}).all()
    )

    plan = [step.detail for step in steps]
    searches = [step for step in plan if step.startswith("SEARCH")]
    assert searches
    # By the store's id alone a whole store would be read.
    assert [step for step in searches if step.endswith("(store_id=?)")] == []
    tables = ("sessions", "email_answers", "rejections", "gaps")
    assert [step for step in plan if step.startswith("SCAN") and step.split()[1] in tables] == []
