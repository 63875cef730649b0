"""While a statement takes long another primary is looked for, which must cost and cut nothing."""

import pytest
from sqlalchemy import text

from sync.receiver.database_url import parse_server_url
from sync.receiver.db.postgresql import Postgresql
from sync.receiver.db.server.connect import Connector
from sync.receiver.db.server.connection import ServerConnection
from tests.support.head_office import replication
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


@pytest.mark.slow
async def test_server_with_two_addresses_does_not_supersede_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A name of both IPv4 and IPv6: a connection by the other address cut the statement."""
    monkeypatch.setattr(replication, "_HOST", "127.0.0.1,127.0.0.2")
    with replication.single_server() as server:
        urls = (f"postgresql+asyncpg://postgres@127.0.0.{n}:{server.port}/hq" for n in (1, 2))
        found = [await Connector(parse_server_url(url), None, {}).connect() for url in urls]
        is_superseded = found[0].is_superseded_by(found[1])
        for connection in found:
            connection.terminate()

    assert not is_superseded


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
