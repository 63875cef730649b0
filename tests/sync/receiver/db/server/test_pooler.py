"""Head office through PgBouncer in transaction mode, where each transaction gets any connection."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import Connection, literal, select, text

from sync.receiver.db.postgresql import Postgresql
from sync.receiver.doctor.postgresql import check_postgresql
from tests.support.head_office.messages import AT, SimulatedAgent, session
from tests.support.head_office.pooler import follows_statements, pooled, pooler_version
from tests.support.head_office.postgresql import PostgresqlServer, rows_at
from tests.support.head_office.receiver import Receiver, receiver_under_test, settings_in

pytestmark = pytest.mark.process

_TILLS = 8
_LEFT = """
SELECT count(*) FROM pg_prepared_statements WHERE name NOT LIKE 'PGBOUNCER%' AND name <> ''
"""
_DURABLE = "SELECT current_setting('synchronous_commit') || current_setting('lock_timeout')"


@pytest.fixture(params=[False, True], ids=["not followed", "followed"])
async def url(
    postgresql_server: PostgresqlServer, request: pytest.FixtureRequest
) -> AsyncIterator[str]:
    """Return the URL of a database through PgBouncer, which follows prepared statements or not."""
    pooler_version()
    if request.param and not follows_statements():
        pytest.skip("needs PgBouncer 1.21 or later, which follows prepared statements")
    direct = await postgresql_server.new_database()
    name = direct.partition("?")[0].rpartition("/")[2]
    await rows_at(direct, f"ALTER DATABASE {name} SET synchronous_commit = off")
    with pooled(direct, follows=request.param) as through:
        yield through


async def test_agents_and_readers_are_served_through_a_pooler(url: str, tmp_path: Path) -> None:
    """Start-up parameters had ended the start, and statements were sought where they are not."""
    tills = [SimulatedAgent(f"{number:04}", "till-1") for number in range(_TILLS)]
    async with receiver_under_test(settings_in(tmp_path, database={"url": url})) as receiver:
        for till in tills:
            await receiver.enroll(till)
        statuses = await asyncio.gather(*(trade(receiver, till) for till in tills))
        ready = await receiver.get("/readyz")

    assert {status for each in statuses for status in each} == {200}
    assert ready.status == 200
    assert await rows_at(url, "SELECT count(*) FROM sessions") == [(3 * _TILLS,)]


async def trade(receiver: Receiver, till: SimulatedAgent) -> list[int]:
    """Send batches and heartbeats, and read a page; return the statuses."""
    statuses = []
    for number in range(1, 4):
        statuses.append((await receiver.send(till, session(number))).status)
        statuses.append((await receiver.heartbeat(till)).status)
        statuses.append((await receiver.get("/v1/stores")).status)
    return statuses


async def test_settings_hold_for_our_transactions_and_for_nobody_else(url: str) -> None:
    database = Postgresql(url)
    await database.open()

    def ask(connection: Connection) -> str:
        return str(connection.execute(text(_DURABLE)).scalar_one())

    ours = await asyncio.gather(*(database.write(ask) for _ in range(20)))
    first = await asyncio.gather(
        *(database.read_first(select(literal(number).label("one")), {}) for number in range(20))
    )
    others = [await rows_at(url, _DURABLE) for _ in range(3)]
    await database.scrub()
    await database.close()

    assert set(ours) == {"on5s"}
    assert [row and row["one"] for row in first] == [*range(20)]
    assert others == [[("off0",)]] * 3


async def test_no_prepared_statement_is_left_in_the_pool(url: str) -> None:
    database = Postgresql(url)
    await database.open()
    await asyncio.gather(*(database.read(lambda c: c.execute(text("SELECT 1"))) for _ in range(20)))
    await database.close()

    connection = await asyncpg.connect(url.replace("+asyncpg", ""), statement_cache_size=0)
    left = [await connection.fetchval(_LEFT) for _ in range(6)]
    await connection.close()

    assert set(left) == {0}


async def test_the_pooler_and_what_it_cannot_do_are_named(
    url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> None:
    caplog.set_level(logging.INFO)
    settings = settings_in(tmp_path, database={"url": url})
    async with receiver_under_test(settings):
        checks = {check.name: check for check in await check_postgresql(settings, AT)}

    (said,) = {str(one.__dict__["fields"]) for one in caplog.records if "pooled" in one.message}
    follows = request.node.callspec.params["url"]
    assert ("PgBouncer before 1.21" in said) is not follows
    assert ("follows prepared" in said) is follows
    assert ("PgBouncer before 1.21" in checks["pooler"].advice) is not follows
