"""While a statement takes long another primary is looked for, which must cost and cut nothing."""

import pytest
from sqlalchemy import text

from sync.receiver.db.postgresql import Postgresql
from sync.receiver.db.server.connect import Connector
from sync.receiver.db.server.connection import ServerConnection
from tests.support.head_office.postgresql import PostgresqlServer, started_server
from tests.support.head_office.relay import relay_before

pytestmark = pytest.mark.process


async def test_slow_statement_behind_a_balancer_is_not_cut(
    postgresql_server: PostgresqlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it takes long the primary is looked for, and another node of a cluster answers."""
    monkeypatch.setattr("sync.receiver.db.server.pool.SUSPECT_SECONDS", 0.05)
    with started_server(survives_power_cuts=False) as other:
        async with relay_before(postgresql_server, other) as balancer:
            url = f"postgresql+asyncpg://postgres@127.0.0.1:{balancer.port}/postgres"
            database = Postgresql(url)
            found = await database.read(
                lambda connection: connection.execute(text("SELECT 1 FROM pg_sleep(1)")).scalar()
            )
            await database.close()

    assert found == 1


async def test_long_command_makes_few_connections(
    postgresql_server: PostgresqlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One each three seconds, for as long as an export takes."""
    monkeypatch.setattr("sync.receiver.db.server.pool.SUSPECT_SECONDS", 0.01)
    made = 0
    connect = Connector.connect

    async def counted(connector: Connector) -> ServerConnection:
        nonlocal made
        made += 1
        return await connect(connector)

    monkeypatch.setattr(Connector, "connect", counted)
    database = Postgresql(await postgresql_server.new_database(), statement_seconds=None)

    await database.read(lambda connection: connection.execute(text("SELECT pg_sleep(2)")).scalar())
    await database.close()

    assert made <= 2 + 9
