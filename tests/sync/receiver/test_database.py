"""The SQLite file behind the ledger: durable, one writer at a time, whole after any trouble."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from sync.receiver.database import Database
from sync.receiver.turns import Turns

ADD = text("INSERT INTO boots VALUES ('0042', 'till-1', :boot, '')")
SLOW = text(
    "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 500000)"
    " SELECT sum(n) FROM c"
)
BOOTS = text("SELECT boot_id FROM boots")


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(tmp_path / "hq.db")
    await database.open()
    yield database
    await database.close()


async def boots(database: Database) -> list[str]:
    async with database.reading() as connection:
        return list((await connection.execute(BOOTS)).scalars())


async def add(database: Database, boot: str) -> None:
    async with database.writing() as connection:
        await connection.execute(ADD, {"boot": boot})


@pytest.mark.parametrize(
    ("pragma", "value"), [("journal_mode", "wal"), ("synchronous", 2), ("secure_delete", 1)]
)
async def test_a_commit_is_on_the_disk_and_what_is_deleted_is_gone(
    database: Database, pragma: str, value: object
) -> None:
    async with database.writing() as connection:
        assert (await connection.execute(text(f"PRAGMA {pragma}"))).scalar() == value


async def test_writing_waits_for_the_turn_of_another_process(
    database: Database, tmp_path: Path
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


async def test_writing_takes_the_lock_at_once(database: Database, tmp_path: Path) -> None:
    """One that reads first and only then writes can fail, however long it waits."""
    with closing(sqlite3.connect(tmp_path / "hq.db", timeout=0, isolation_level=None)) as other:
        async with database.writing():
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                other.execute("BEGIN IMMEDIATE")


async def test_who_reads_cannot_write(database: Database) -> None:
    async with database.reading() as connection:
        with pytest.raises(OperationalError, match="readonly"):
            await connection.execute(ADD, {"boot": "one"})


async def test_who_reads_sees_one_state(database: Database) -> None:
    async with database.reading() as connection:
        before = (await connection.execute(BOOTS)).all()
        await add(database, "one")

        assert (await connection.execute(BOOTS)).all() == before


async def test_what_fails_half_way_leaves_nothing(database: Database) -> None:
    async def write() -> None:
        async with database.writing() as connection:
            await connection.execute(ADD, {"boot": "one"})
            await connection.execute(text("INSERT INTO nowhere VALUES (1)"))

    with pytest.raises(OperationalError):
        await write()

    assert await boots(database) == []


async def test_what_is_cancelled_half_way_leaves_nothing_and_holds_nobody_up(
    database: Database,
) -> None:
    """A stop that does not wait any longer."""
    begun = asyncio.Event()

    async def write() -> None:
        async with database.writing() as connection:
            await connection.execute(ADD, {"boot": "one"})
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.ensure_future(write())
    await begun.wait()
    task.cancel()
    await asyncio.wait([task])
    await add(database, "two")

    assert await boots(database) == ["two"]


async def test_a_cancelled_statement_holds_nobody_up(database: Database) -> None:
    """It goes on in its thread; the turn is not given away before it is over."""
    begun = asyncio.Event()

    async def write() -> None:
        async with database.writing() as connection:
            await connection.execute(ADD, {"boot": "one"})
            begun.set()
            await connection.execute(SLOW)

    task = asyncio.ensure_future(write())
    await begun.wait()
    task.cancel()
    await asyncio.gather(asyncio.wait([task]), add(database, "two"))

    assert await boots(database) == ["two"]


async def test_closing_twice_is_harmless(database: Database) -> None:
    await database.close()

    await database.close()


async def test_a_closed_file_leaves_no_wal_behind(database: Database, tmp_path: Path) -> None:
    await add(database, "one")

    await database.close()

    assert not (tmp_path / "hq.db-wal").exists()
