"""On PostgreSQL, concurrent requests of one agent are serialized by row locks."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import pytest

from sync.receiver.auth.enrolment import Enrolment
from sync.receiver.db.postgresql import Postgresql
from tests.support.head_office.enrolment import issue_token
from tests.support.head_office.ledger import LedgerDriver
from tests.support.head_office.messages import AT, SimulatedAgent, session
from tests.support.head_office.postgresql import PostgresqlServer, rows_at
from tests.support.patience import PATIENCE_SECONDS

FIRST_EPOCH = "00000000-0000-4000-8000-000000000000"
LAST_EPOCH = "ffffffff-ffff-4fff-bfff-ffffffffffff"
LOOK_SECONDS = 0.02
WAITING = """
SELECT 1 FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock'
"""
TAKE_TWO_MORE = "UPDATE agents SET accepted_through = accepted_through + 2"


@pytest.fixture
async def url(postgresql_server: PostgresqlServer) -> str:
    return await postgresql_server.new_database()


@pytest.fixture
async def office(url: str) -> AsyncIterator[LedgerDriver]:
    database = Postgresql(url)
    await database.open()
    yield LedgerDriver(database)
    await database.close()


@pytest.fixture
async def other(
    url: str, office: LedgerDriver
) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """Return a connection of another receiver."""
    del office
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    yield connection
    await connection.close()


async def has_to_wait(url: str) -> None:
    """Return once a connection waits for a lock."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await rows_at(url, WAITING):  # noqa: ASYNC110 - another process's state
            await asyncio.sleep(LOOK_SECONDS)


async def repeat(office: LedgerDriver, till: SimulatedAgent) -> int:
    """Resend a stored batch; return the accepted position."""
    return (await office.take(till, session(1), session(2))).accepted_through


async def beat(office: LedgerDriver, till: SimulatedAgent) -> int:
    return (await office.heartbeat(till))[till.epoch]


@pytest.mark.parametrize("ask", [repeat, beat])
async def test_batch_waits_for_the_uncommitted_one_of_another_receiver(
    office: LedgerDriver,
    url: str,
    other: "asyncpg.Connection[asyncpg.Record]",
    ask: Callable[[LedgerDriver, SimulatedAgent], Awaitable[int]],
) -> None:
    """Otherwise it would reset the agent to the position it read before."""
    till = SimulatedAgent()
    await office.take(till, session(1), session(2))
    async with other.transaction():
        await other.execute("SELECT * FROM agents FOR UPDATE")
        asking = asyncio.ensure_future(ask(office, till))
        await has_to_wait(url)
        await other.execute(TAKE_TWO_MORE)

    accepted = await asking

    assert (accepted, await rows_at(url, "SELECT accepted_through FROM agents")) == (4, [(4,)])


async def test_batch_and_heartbeat_of_one_agent_do_not_deadlock(
    office: LedgerDriver, url: str, other: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """Both lock the agent's row before its boot's; a deadlock costs a second and a retry."""
    till = SimulatedAgent()
    await office.take(till, session(1), sentMonotonicUs=5_000_000)
    async with other.transaction():
        # Lock the row as a batch does.
        await other.execute("SELECT * FROM agents FOR UPDATE")
        beating = asyncio.ensure_future(office.heartbeat(till))
        await has_to_wait(url)
        await other.execute("SELECT * FROM boots FOR UPDATE NOWAIT")

    assert await beating == {till.epoch: 1}


async def test_two_messages_of_one_agent_lock_its_epochs_in_one_order(
    office: LedgerDriver, url: str, other: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """A heartbeat of another epoch also writes the row of the current one."""
    current, another = SimulatedAgent(epoch=FIRST_EPOCH), SimulatedAgent(epoch=LAST_EPOCH)
    await office.take(another, session(1))
    await office.heartbeat(current)
    async with other.transaction():
        # Lock the rows as a heartbeat that names both does: the first one, then the last one.
        await other.execute("SELECT * FROM agents WHERE epoch = $1 FOR UPDATE", FIRST_EPOCH)
        beating = asyncio.ensure_future(office.heartbeat(another))
        await has_to_wait(url)
        await other.execute("SELECT * FROM agents WHERE epoch = $1 FOR UPDATE NOWAIT", LAST_EPOCH)

    assert await beating == {LAST_EPOCH: 1}


async def test_heartbeat_that_lost_the_race_for_the_current_epoch_keeps_the_order_of_locks(
    office: LedgerDriver, url: str, other: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """Two machines under one name: each held its own row and waited for the other's, a second."""
    first, last = SimulatedAgent(epoch=FIRST_EPOCH), SimulatedAgent(epoch=LAST_EPOCH)
    await office.heartbeat(first)
    await office.heartbeat(last)
    third = await asyncpg.connect(url.replace("+asyncpg", ""))
    async with third.transaction():
        async with other.transaction():
            # Become the current one as a heartbeat of the first machine does.
            await other.execute("SELECT * FROM agents ORDER BY epoch FOR UPDATE")
            await other.execute("UPDATE agents SET is_current = NULL")
            become = "UPDATE agents SET is_current = true WHERE epoch = $1"
            await other.execute(become, FIRST_EPOCH)
            beating = asyncio.ensure_future(office.heartbeat(last))
            await has_to_wait(url)
            # A batch of the first machine is next.
            lock = third.execute("SELECT * FROM agents WHERE epoch = $1 FOR UPDATE", FIRST_EPOCH)
            locking = asyncio.ensure_future(lock)
            while await rows_at(url, WAITING) != [(1,), (1,)]:  # noqa: ASYNC110 - another process
                await asyncio.sleep(LOOK_SECONDS)
        await locking
        await has_to_wait(url)
        await third.execute("SELECT * FROM agents WHERE epoch = $1 FOR UPDATE NOWAIT", LAST_EPOCH)
    await third.close()

    assert await beating == {LAST_EPOCH: 0}


async def test_token_is_revoked_when_a_newer_one_is_first_used_concurrently(
    office: LedgerDriver, url: str, other: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    enrolment, name = Enrolment(office.database), SimulatedAgent().name
    old = await issue_token(enrolment, name, b"first")
    async with other.transaction():
        # Another receiver is about to revoke this token, which was never used either.
        await other.execute("DELETE FROM tokens")
        finding = asyncio.ensure_future(enrolment.authenticate(old, AT))
        await has_to_wait(url)

    assert await finding is None
