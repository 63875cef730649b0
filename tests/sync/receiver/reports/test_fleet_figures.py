"""Fleet figures while the database is down or slow."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import asyncpg
import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from sync.receiver.db.database import DatabaseUnavailableError
from sync.receiver.db.postgresql import Postgresql
from sync.receiver.db.sqlite import SqliteFile
from sync.receiver.reports import fleet_figures
from sync.receiver.reports.fleet_figures import read_fleet_figures
from sync.receiver.reports.tills import Reference
from tests.support.head_office.messages import AT
from tests.support.head_office.postgresql import PostgresqlServer

T = TypeVar("T")


REFERENCE = Reference(AT, "0.1.0")


class Unavailable(SqliteFile):
    """A database whose reads raise `error`, or hang if it is None."""

    def __init__(self, error: Exception | None) -> None:
        self._error = error

    async def read(self, work: Callable[[Connection], T]) -> T:
        if self._error is not None:
            raise self._error
        never: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        return await never


@asynccontextmanager
async def opened(database: Postgresql) -> AsyncIterator[Postgresql]:
    await database.open()
    yield database
    await database.close()


@pytest.mark.parametrize(
    "error",
    [None, DatabaseUnavailableError("no server"), OperationalError("", {}, Exception("locked"))],
    ids=["says nothing", "is away", "is locked"],
)
async def test_unreachable_database_yields_no_figures(
    error: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_figures, "_TIMEOUT_SECONDS", 0.01)

    assert await read_fleet_figures(Unavailable(error), REFERENCE) is None


async def test_blocked_database_is_read_again_once_it_is_free(
    postgresql_server: PostgresqlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_figures, "_TIMEOUT_SECONDS", 0.2)
    url = await postgresql_server.new_database()
    async with opened(Postgresql(url)) as database:
        holding = await asyncpg.connect(url.replace("+asyncpg", ""))
        async with holding.transaction():
            await holding.execute("LOCK TABLE agents IN ACCESS EXCLUSIVE MODE")
            held_up = await read_fleet_figures(database, REFERENCE)
        await holding.close()
        monkeypatch.setattr(fleet_figures, "_TIMEOUT_SECONDS", 20)
        free = await read_fleet_figures(database, REFERENCE)

    assert held_up is None
    assert free is not None
    assert free.stores == 0
