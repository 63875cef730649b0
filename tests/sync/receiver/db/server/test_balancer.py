"""A balancer before several servers: each connection may reach another one."""

import pytest
from sqlalchemy import text

from sync.receiver.db.postgresql import Postgresql
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
