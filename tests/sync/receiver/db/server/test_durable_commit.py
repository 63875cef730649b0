"""A batch is acknowledged only once its commit is on the synchronous standby too."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from sync.receiver.db.database import DatabaseUnavailableError
from sync.receiver.db.health.outage import outage_reason
from sync.receiver.db.postgresql import Postgresql
from tests.support.head_office.messages import SimulatedAgent, session
from tests.support.head_office.postgresql import rows_at
from tests.support.head_office.receiver import receiver_under_test, settings_in
from tests.support.head_office.replication import Pair, replicated_servers

pytestmark = [pytest.mark.process, pytest.mark.slow]

_PATIENCE_SECONDS = 60
_WAITING = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
_CANCEL = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"


@pytest.fixture
def pair() -> Iterator[Pair]:
    with replicated_servers() as servers:
        yield servers


async def test_commit_whose_wait_for_the_standby_is_cancelled_is_not_acknowledged(
    pair: Pair, till: SimulatedAgent, tmp_path: Path
) -> None:
    """PostgreSQL answers such a COMMIT with a warning, as if it were done: only the primary has it.

    Administrators cancel it when a standby is lost. The agent would have erased what a failover
    then loses.
    """
    url = f"postgresql+asyncpg://postgres@{pair.primary.place}/{pair.database}"
    async with receiver_under_test(settings_in(tmp_path, database={"url": url})) as receiver:
        await receiver.enroll(till)
        await receiver.send(till, session(1))
        pair.standby.freeze()
        sending = asyncio.ensure_future(receiver.send(till, session(2)))
        while not await rows_at(url, _WAITING):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.02)
        await rows_at(url, _CANCEL)
        cancelled = await sending
        pair.standby.thaw()

        repeated = await receiver.send(till, session(2))

    assert cancelled.status == 503
    assert (repeated.status, repeated.members()["acceptedThrough"]) == (200, 2)
    assert await rows_at(url, "SELECT sequence FROM sessions ORDER BY 1") == [(1,), (2,)]


async def test_commit_that_waits_for_a_lost_standby_is_told_as_that(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The primary, which answers, was said to be not reachable."""
    monkeypatch.setattr("sync.receiver.db.postgresql._GRACE_SECONDS", 0)
    opened = Postgresql(pair.url())
    await opened.open()
    await opened.close()
    database = Postgresql(pair.url(), statement_seconds=1)
    pair.standby.freeze()
    with pytest.raises(DatabaseUnavailableError, match="COMMIT had no answer") as raised:
        await database.write(lambda connection: connection.exec_driver_sql("CREATE TABLE a ()"))
    await database.close()
    pair.standby.thaw()

    reason = "a commit had no answer from the database server, or from its synchronous standby"
    assert outage_reason(raised.value) == reason


@pytest.mark.parametrize("way", ["promote", "start"])
async def test_primary_killed_inside_of_a_commit_has_acknowledged_nothing(
    pair: Pair, till: SimulatedAgent, tmp_path: Path, way: str
) -> None:
    """Whether the standby is promoted without the batch, or the primary comes back with it."""
    async with receiver_under_test(settings_in(tmp_path, database={"url": pair.url()})) as receiver:
        await receiver.enroll(till)
        await receiver.send(till, session(1))
        pair.standby.freeze()
        sending = asyncio.ensure_future(receiver.send(till, session(2)))
        primary = pair.url().replace(f",{pair.standby.place}", "").partition("?")[0]
        while not await rows_at(primary, _WAITING):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.02)
        pair.primary.end()
        lost = await sending
        pair.standby.thaw()
        server = pair.standby if way == "promote" else pair.primary
        getattr(server, way)()

        async with asyncio.timeout(_PATIENCE_SECONDS):
            while (repeated := await receiver.send(till, session(2))).status != 200:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)

    url = f"postgresql+asyncpg://postgres@{server.place}/{pair.database}"
    assert lost.status == 503
    assert repeated.members()["acceptedThrough"] == 2
    assert await rows_at(url, "SELECT sequence FROM sessions ORDER BY 1") == [(1,), (2,)]
    assert await rows_at(url, "SELECT sum(sessions) FROM hours") == [(2,)]
