"""The SQLite file behind the ledger: durable, one writer at a time, whole after any trouble."""

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

from sync.receiver.db import statements
from sync.receiver.db.sqlite import SqliteFile
from sync.receiver.db.sqlite_write_lock import Turns

ADD = text("INSERT INTO boots VALUES ('0042', 'till-1', :boot, '')")
BOOTS = text("SELECT boot_id FROM boots")
PATIENCE_SECONDS = 30


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
    """Work that stops in its thread until it is told to go on."""

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
async def test_a_commit_is_on_the_disk_and_what_is_deleted_is_gone(
    database: SqliteFile, pragma: str, value: object
) -> None:
    asked = text(f"PRAGMA {pragma}")
    assert await database.write(lambda connection: connection.execute(asked).scalar()) == value


async def test_writing_waits_for_the_turn_of_another_process(
    database: SqliteFile, tmp_path: Path
) -> None:
    """Before it goes to SQLite: there, two that wait for each other can damage the file."""
    with closing(Turns(tmp_path / "hq.db")) as another:
        another.open()
        async with another.own():
            task = asyncio.ensure_future(add(database, "one"))
            await asyncio.wait([task], timeout=0.05)
            assert await boots(database) == []
        await task

    assert await boots(database) == ["one"]


async def test_writing_takes_the_lock_at_once(
    database: SqliteFile, tmp_path: Path, pause: Pause
) -> None:
    """One that reads first and only then writes can fail, however long it waits."""
    task = asyncio.ensure_future(database.write(lambda _: pause()))
    await pause.reached.wait()

    with closing(sqlite3.connect(tmp_path / "hq.db", timeout=0, isolation_level=None)) as other:
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        pause.end()
        await task


async def test_who_reads_cannot_write(database: SqliteFile) -> None:
    with pytest.raises(OperationalError, match="readonly"):
        await database.read(lambda connection: connection.execute(ADD, {"boot": "one"}))


async def test_who_reads_sees_one_state(database: SqliteFile, pause: Pause) -> None:
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


async def test_what_fails_half_way_leaves_nothing(database: SqliteFile) -> None:
    def write(connection: Connection) -> None:
        connection.execute(ADD, {"boot": "one"})
        connection.execute(text("INSERT INTO nowhere VALUES (1)"))

    with pytest.raises(OperationalError):
        await database.write(write)

    assert await boots(database) == []


async def test_what_is_cancelled_goes_on_to_its_end_before_the_next_one_writes(
    database: SqliteFile, pause: Pause
) -> None:
    """A stop that does not wait any longer: its caller was answered nothing, and asks again."""

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


async def test_closing_twice_is_harmless(database: SqliteFile) -> None:
    await database.close()

    await database.close()


async def test_a_closed_file_leaves_no_wal_behind(database: SqliteFile, tmp_path: Path) -> None:
    await add(database, "one")

    await database.close()

    assert not (tmp_path / "hq.db-wal").exists()


async def test_what_stands_under_ids_is_found_without_going_through_the_whole_store(
    database: SqliteFile,
) -> None:
    asked = statements.UNDER_IDS.compile(dialect=sqlite.dialect(paramstyle="named"))
    explained = text(f"EXPLAIN QUERY PLAN {asked}")
    ids = {**asked.params, "of_store": "0042", "of_till": "till-1", "ids": '["a", "b"]'}

    plan = str(await database.read(lambda connection: connection.execute(explained, ids).all()))

    for table in ("sessions", "email_answers"):
        assert f"{table}_by_correlation_id (store_id=? AND correlation_id=?)" in plan
