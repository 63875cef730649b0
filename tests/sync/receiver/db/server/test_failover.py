"""Failover between two real PostgreSQL servers: the receiver finds the new primary by itself."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.head_office.messages import SimulatedAgent, session
from tests.support.head_office.receiver import Receiver, receiver_under_test, settings_in
from tests.support.head_office.replication import Pair, replicated_servers
from tests.support.patience import PATIENCE_SECONDS
from tests.support.raw_http import HttpResponse

pytestmark = [pytest.mark.process, pytest.mark.slow]

# What is promised; measured with the real limits only before a release.
RECOVERY_SECONDS = 10


@pytest.fixture
def pair() -> Iterator[Pair]:
    with replicated_servers() as servers:
        yield servers


@pytest.fixture
def _short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sync.receiver.db.server.pool.SUSPECT_SECONDS", 0.3)
    monkeypatch.setattr("sync.receiver.db.server.connect.HOST_SECONDS", 0.5)


async def resent(receiver: Receiver, till: SimulatedAgent) -> HttpResponse:
    """Send a batch as the agent does, again and again, until it is accepted."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (response := await receiver.send(till, session(2))).status != 200:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)
    return response


@pytest.mark.usefixtures("_short_limits")
async def test_frozen_primary_is_left_for_the_promoted_standby(
    pair: Pair, till: SimulatedAgent, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings_in(tmp_path, database={"url": pair.url()})
    async with receiver_under_test(settings) as receiver:
        await receiver.enroll(till)
        await receiver.send(till, session(1))
        pair.primary.freeze()
        pair.standby.promote()

        response = await resent(receiver, till)
        ready = await receiver.get("/readyz")

    assert response.members()["acceptedThrough"] == 2
    assert ready.status == 200
    assert [record.message for record in caplog.records].count("hq.database_moved") == 1


async def test_primary_that_becomes_read_only_is_left_for_the_promoted_standby(
    pair: Pair, till: SimulatedAgent, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its connections stay: without an error at connecting the pool had stayed for ever."""
    settings = settings_in(tmp_path, database={"url": pair.url("")})
    async with receiver_under_test(settings) as receiver:
        await receiver.enroll(till)
        await receiver.send(till, session(1))
        await pair.primary.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        await pair.primary.execute("SELECT pg_reload_conf()")
        refused = await receiver.send(till, session(2))
        pair.standby.promote()

        response = await resent(receiver, till)

    assert refused.status == 503
    said = next(one for one in caplog.records if one.message == "request.refused")
    assert said.__dict__["fields"]["reason"] == "the database is read-only"
    words = "cannot execute SELECT FOR UPDATE in a read-only transaction"
    assert said.__dict__["fields"]["cause"] == f"PostgreSQL: {pair.primary.place}: {words}"
    assert response.members()["acceptedThrough"] == 2


@pytest.mark.campaign
@pytest.mark.parametrize("way", ["freeze", "stop"])
async def test_recovery_takes_less_than_ten_seconds_after_the_promotion(
    pair: Pair, till: SimulatedAgent, tmp_path: Path, way: str
) -> None:
    async with receiver_under_test(settings_in(tmp_path, database={"url": pair.url()})) as receiver:
        await receiver.enroll(till)
        await receiver.send(till, session(1))
        getattr(pair.primary, way)()
        pair.standby.promote()
        began = time.monotonic()

        await resent(receiver, till)

    assert time.monotonic() - began < RECOVERY_SECONDS
