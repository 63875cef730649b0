"""Databases under contract: a SQLite file and a PostgreSQL server."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import asyncpg
import pytest

from sync.receiver.db.database import Database
from sync.receiver.db.postgresql import Postgresql
from sync.receiver.db.sqlite import SqliteFile
from sync.receiver.db.tables import LedgerTable
from tests.support.head_office.ledger import LedgerDriver
from tests.support.head_office.postgresql import PostgresqlServer

T = TypeVar("T")
_FILE = "hq.db"


@asynccontextmanager
async def sqlite_in(directory: Path, fresh: Path) -> AsyncIterator[Database]:
    """Open a copy of the empty SQLite database."""
    shutil.copytree(fresh, directory, dirs_exist_ok=True)
    database = SqliteFile(directory / _FILE)
    await database.open()
    yield database
    await database.close()


@asynccontextmanager
async def on_postgresql(url: str) -> AsyncIterator[Database]:
    """Empty and open the database at `url`; creating one for each test takes half a second."""
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    await connection.execute(f"TRUNCATE {', '.join(LedgerTable.metadata.tables)}")
    await connection.close()
    database = Postgresql(url)
    await database.open()
    yield database
    await database.close()


@pytest.fixture(scope="session")
def fresh_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with a migrated, empty database; migrating takes most of a start."""
    directory = tmp_path_factory.mktemp("fresh")

    run_in_thread(migrate(SqliteFile(directory / _FILE)))
    return directory


@pytest.fixture(scope="session")
def shared_postgresql_url(postgresql_server: PostgresqlServer) -> str:
    """Return the URL of a migrated database that tests use one after another."""
    url = run_in_thread(postgresql_server.new_database())
    run_in_thread(migrate(Postgresql(url)))
    return url


async def migrate(database: Database) -> None:
    await database.open()
    await database.close()


def run_in_thread(work: Coroutine[None, None, T]) -> T:
    """Run `work` in an event loop of its own; this thread may already have one."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(asyncio.run, work).result()


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    opening = (
        sqlite_in(tmp_path, request.getfixturevalue("fresh_sqlite"))
        if request.param == "sqlite"
        else on_postgresql(request.getfixturevalue("shared_postgresql_url"))
    )
    async with opening as opened:
        yield opened


@pytest.fixture
def office(database: Database) -> LedgerDriver:
    return LedgerDriver(database)
