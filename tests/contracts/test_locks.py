"""On PostgreSQL what is asked of one agent at one moment is done one after the other."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import pytest

from sync.receiver.auth.enrolment import Enrolment
from sync.receiver.db.postgresql import Postgresql
from tests.contracts.office import Office
from tests.head_office.postgresql import PostgresqlServer, rows_at
from tests.head_office.sender import AT, Sender, session

PATIENCE_SECONDS = 20
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
async def office(url: str) -> AsyncIterator[Office]:
    database = Postgresql(url)
    await database.open()
    yield Office(database)
    await database.close()


@pytest.fixture
async def other(url: str, office: Office) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """Return a connection of another receiver."""
    del office
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    yield connection
    await connection.close()


async def has_to_wait(url: str) -> None:
    """Return once somebody waits for a lock."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await rows_at(url, WAITING):  # noqa: ASYNC110 - another process's state
            await asyncio.sleep(LOOK_SECONDS)


async def repeat(office: Office, till: Sender) -> int:
    """Send what is there already; return how far the agent is told to be accounted for."""
    return (await office.take(till, session(1), session(2))).accepted_through


async def beat(office: Office, till: Sender) -> int:
    return (await office.hear(till))[till.epoch]


@pytest.mark.parametrize("ask", [repeat, beat])
async def test_it_begins_when_what_another_receiver_has_in_hand_is_committed(
    office: Office,
    url: str,
    other: "asyncpg.Connection[asyncpg.Record]",
    ask: Callable[[Office, Sender], Awaitable[int]],
) -> None:
    """Begun earlier, it would put the agent back to where it was when it looked."""
    till = Sender()
    await office.take(till, session(1), session(2))
    async with other.transaction():
        await other.execute("SELECT * FROM agents FOR UPDATE")
        asking = asyncio.ensure_future(ask(office, till))
        await has_to_wait(url)
        await other.execute(TAKE_TWO_MORE)

    told = await asking

    assert (told, await rows_at(url, "SELECT accepted_through FROM agents")) == (4, [(4,)])


async def test_a_batch_and_a_heartbeat_of_one_agent_never_wait_for_each_other(
    office: Office, url: str, other: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """Both lock the agent's row before its boot's: a deadlock costs a second and a retry."""
    till = Sender()
    await office.take(till, session(1), sentMonotonicUs=5_000_000)
    async with other.transaction():
        # As a batch does it.
        await other.execute("SELECT * FROM agents FOR UPDATE")
        beating = asyncio.ensure_future(office.hear(till))
        await has_to_wait(url)
        await other.execute("SELECT * FROM boots FOR UPDATE NOWAIT")

    assert await beating == {till.epoch: 1}


async def test_a_token_ends_at_the_moment_in_which_a_newer_one_is_first_used(
    office: Office, url: str, other: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    enrolment, name = Enrolment(office.database), Sender().name
    old = await enrolment.enroll(name, b"first", AT)
    async with other.transaction():
        # Another receiver is about to end it; it was never used before either.
        await other.execute("DELETE FROM tokens")
        finding = asyncio.ensure_future(enrolment.find(old, AT))
        await has_to_wait(url)

    assert await finding is None
