"""Databases under contract: a SQLite file and a PostgreSQL server."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sync.receiver.db.database import Database
from sync.receiver.db.postgresql import Postgresql
from sync.receiver.db.sqlite import SqliteFile
from tests.support.head_office.ledger import LedgerDriver
from tests.support.head_office.postgresql import PostgresqlServer

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
async def on_postgresql(server: PostgresqlServer) -> AsyncIterator[Database]:
    """Open a new database on the server."""
    database = Postgresql(await server.new_database())
    await database.open()
    yield database
    await database.close()


@pytest.fixture(scope="session")
def fresh_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with a migrated, empty database; migrating takes most of a start."""
    directory = tmp_path_factory.mktemp("fresh")

    async def make() -> None:
        database = SqliteFile(directory / _FILE)
        await database.open()
        await database.close()

    with ThreadPoolExecutor(max_workers=1) as thread:
        thread.submit(asyncio.run, make()).result()
    return directory


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    opening = (
        sqlite_in(tmp_path, request.getfixturevalue("fresh_sqlite"))
        if request.param == "sqlite"
        else on_postgresql(request.getfixturevalue("postgresql_server"))
    )
    async with opening as opened:
        yield opened


@pytest.fixture
def office(database: Database) -> LedgerDriver:
    return LedgerDriver(database)
