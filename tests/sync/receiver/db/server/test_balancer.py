"""A balancer before several servers: each connection may reach another one."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from sync.receiver.db.postgresql import Postgresql
from tests.support.head_office.postgresql import PostgresqlServer, started_server

pytestmark = pytest.mark.process

_SOCKET = ".s.PGSQL.5432"


async def test_slow_statement_behind_a_balancer_is_not_cut(
    postgresql_server: PostgresqlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it takes long the primary is looked for, and another node of a cluster answers."""
    monkeypatch.setattr("sync.receiver.db.server.pool.SUSPECT_SECONDS", 0.05)
    with started_server(survives_power_cuts=False) as other:
        servers = (postgresql_server, other)
        async with balancer(*(server.socket / _SOCKET for server in servers)) as port:
            database = Postgresql(f"postgresql+asyncpg://postgres@127.0.0.1:{port}/postgres")
            found = await database.read(
                lambda connection: connection.execute(text("SELECT 1 FROM pg_sleep(1)")).scalar()
            )
            await database.close()

    assert found == 1


@asynccontextmanager
async def balancer(*sockets: Path) -> AsyncIterator[int]:
    """Pass each connection on to the next of the servers; yield the port."""
    turns = itertools.cycle(sockets)

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, requests = await asyncio.open_unix_connection(next(turns))
        async with asyncio.TaskGroup() as both:
            both.create_task(copy(reader, requests))
            both.create_task(copy(answers, writer))

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65_536):
                target.write(data)
        except ConnectionError:
            pass
        target.close()

    async with await asyncio.start_server(pass_on, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
