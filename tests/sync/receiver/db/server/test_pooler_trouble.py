"""A pooler that is busy, paused, restarted or full, and one whose server fails over."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from sync.receiver.database_url import parse_server_url
from sync.receiver.db.server.connect import Connector
from tests.support.head_office.messages import SimulatedAgent, session
from tests.support.head_office.pooler import Pooler, pooler_version, running_pooler
from tests.support.head_office.postgresql import PostgresqlServer
from tests.support.head_office.receiver import Receiver, receiver_under_test, settings_in
from tests.support.head_office.replication import replicated_servers
from tests.support.patience import PATIENCE_SECONDS
from tests.support.raw_http import HttpResponse

pytestmark = pytest.mark.process


@contextmanager
def pooler_before(url: str, **limits: int) -> Iterator[tuple[Pooler, str]]:
    """Run PgBouncer before the server of `url`; yield it, and the same database through it."""
    pooler_version()
    server = make_url(url)
    with running_pooler(str(server.query["host"]), **limits) as pooler:
        yield pooler, pooler.url(str(server.database))


async def sent_until_accepted(receiver: Receiver, till: SimulatedAgent, number: int) -> None:
    """Send a batch as the agent does, again and again."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await receiver.send(till, session(number))).status != 200:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)


async def test_single_host_that_is_busy_for_longer_than_a_host_may_hang_is_waited_for(
    postgresql_server: PostgresqlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pooler without a free connection: every new one had been refused after 2 s."""
    monkeypatch.setattr("sync.receiver.db.server.connect.HOST_SECONDS", 0.1)
    url = await postgresql_server.new_database()
    with pooler_before(url, default_pool_size=1) as (_, through):
        holder = await asyncpg.connect(through.replace("+asyncpg", ""), statement_cache_size=0)
        holding = asyncio.ensure_future(holder.execute("SELECT pg_sleep(1)"))

        connection = await Connector(parse_server_url(through), None, {}).connect()

        connection.terminate()
        await holding
        await holder.close()


async def test_batch_that_meets_a_paused_pooler_is_stored_once_it_goes_on(
    postgresql_server: PostgresqlServer,
    till: SimulatedAgent,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sync.receiver.db.health.readiness._WAIT_SECONDS", 0.1)
    url = await postgresql_server.new_database()
    with pooler_before(url) as (pooler, through):
        settings = settings_in(tmp_path, database={"url": through})
        async with receiver_under_test(settings) as receiver:
            await receiver.enroll(till)
            await receiver.send(till, session(1))
            await pooler.order("PAUSE")
            sending = asyncio.ensure_future(receiver.send(till, session(2)))
            ready = await receiver.get("/readyz")
            is_waiting = not sending.done()
            await pooler.order("RESUME")
            response = await sending

    assert is_waiting
    assert ready.status == 200
    assert response.members()["acceptedThrough"] == 2


async def test_restarted_pooler_is_connected_to_again(
    postgresql_server: PostgresqlServer,
    till: SimulatedAgent,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sync.receiver.db.health.readiness.FAILURE_TTL_SECONDS", 0)
    url = await postgresql_server.new_database()
    with pooler_before(url) as (pooler, through):
        settings = settings_in(tmp_path, database={"url": through})
        async with receiver_under_test(settings) as receiver:
            await receiver.enroll(till)
            await receiver.send(till, session(1))
            pooler.end()
            refused = await receiver.send(till, session(2))
            down = await receiver.get("/readyz")
            pooler.start()

            response = await receiver.send(till, session(2))
            ready = await receiver.get("/readyz")

    assert (refused.status, down.status) == (503, 503)
    assert response.members()["acceptedThrough"] == 2
    assert ready.status == 200


async def test_pooler_that_takes_no_more_clients_is_called_that(
    postgresql_server: PostgresqlServer, till: SimulatedAgent, tmp_path: Path
) -> None:
    """It was called not reachable."""
    url = await postgresql_server.new_database()
    with pooler_before(url, max_client_conn=2) as (pooler, through):
        settings = settings_in(tmp_path, database={"url": through})
        async with receiver_under_test(settings) as receiver:
            await receiver.enroll(till)
            pooler.end()
            pooler.start()
            held = [await asyncpg.connect(through.replace("+asyncpg", "")) for _ in range(2)]

            answer = await receiver.get("/readyz")

            for connection in held:
                connection.terminate()

    words = "the database server, or a pooler before it, refuses the connection"
    assert _reason(answer) == (503, f"The ledger cannot be read: {words}")


@pytest.mark.slow
@pytest.mark.parametrize("way", ["end", "stop"])
async def test_failover_behind_a_pooler_is_followed(
    till: SimulatedAgent, tmp_path: Path, way: str
) -> None:
    pooler_version()
    with (
        replicated_servers() as pair,
        running_pooler("127.0.0.1", pair.primary.port, server_login_retry=1) as pooler,
    ):
        settings = settings_in(tmp_path, database={"url": pooler.url(pair.database)})
        async with receiver_under_test(settings) as receiver:
            await receiver.enroll(till)
            await receiver.send(till, session(1))
            getattr(pair.primary, way)()
            pair.standby.promote()
            pooler.point_at("127.0.0.1", pair.standby.port)
            await pooler.order("RELOAD")

            await sent_until_accepted(receiver, till, 2)
            ready = await receiver.get("/readyz")

    assert ready.status == 200


def _reason(answer: HttpResponse) -> tuple[int, object]:
    return answer.status, answer.members().get("errorMessage")
