"""The databases that the receiver can be put on; a new one is one more entry of `_OPENERS`."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from sync.receiver.database import Database
from tests.contracts.office import Office

_FILE = "hq.db"
Open = Callable[[Path, Path], AbstractAsyncContextManager[Database]]


@asynccontextmanager
async def sqlite_in(directory: Path, fresh: Path) -> AsyncIterator[Database]:
    """Open a SQLite file that is as good as new."""
    shutil.copytree(fresh, directory, dirs_exist_ok=True)
    database = Database(directory / _FILE)
    await database.open()
    yield database
    await database.close()


_OPENERS: Mapping[str, Open] = {"sqlite": sqlite_in}


@pytest.fixture(scope="session")
def fresh_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with an empty ledger: most of a first start goes into the migrations."""
    directory = tmp_path_factory.mktemp("fresh")

    async def make() -> None:
        database = Database(directory / _FILE)
        await database.open()
        await database.close()

    with ThreadPoolExecutor(max_workers=1) as thread:
        thread.submit(asyncio.run, make()).result()
    return directory


@pytest.fixture(params=_OPENERS)
async def database(
    request: pytest.FixtureRequest, tmp_path: Path, fresh_sqlite: Path
) -> AsyncIterator[Database]:
    async with _OPENERS[request.param](tmp_path, fresh_sqlite) as opened:
        yield opened


@pytest.fixture
def office(database: Database) -> Office:
    return Office(database)
