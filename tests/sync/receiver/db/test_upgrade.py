"""A head office written by the previous schema opens, migrates and goes on."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import asyncpg
import pytest

from sync.receiver.db.database import Database
from sync.receiver.db.migrate import NEWEST_REVISION
from sync.receiver.db.postgresql import Postgresql
from sync.receiver.db.sqlite import SqliteFile
from sync.receiver.db.tables import AgentRecord, DuplicateRecord, GapRecord, SessionRecord
from tests.support.head_office.ledger import LedgerDriver
from tests.support.head_office.messages import EPOCH, SimulatedAgent, session, wire_time
from tests.support.head_office.postgresql import PostgresqlServer, rows_at
from tests.support.patience import PATIENCE_SECONDS

DUMPS = Path(__file__).parent / "written_by_0003"
NEXT_EPOCH = "0b1f3f8e-5f0f-4b0c-8f53-8bfc0b1ad2a4"
LOOK_SECONDS = 0.02
WAITING = """
SELECT 1 FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock'
"""
TILL, LATER = SimulatedAgent(), SimulatedAgent(epoch=NEXT_EPOCH)


def sqlite_before_upgrade(directory: Path) -> Database:
    with closing(sqlite3.connect(directory / "hq.db")) as connection:
        connection.executescript((DUMPS / "sqlite.sql").read_text())
    return SqliteFile(directory / "hq.db")


async def postgresql_before_upgrade(server: PostgresqlServer) -> Database:
    return Postgresql(await url_before_upgrade(server))


async def url_before_upgrade(server: PostgresqlServer) -> str:
    url = await server.new_database()
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    await connection.execute((DUMPS / "postgresql.sql").read_text())
    await connection.close()
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
async def office(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[LedgerDriver]:
    """Head office after its upgrade."""
    database = (
        sqlite_before_upgrade(tmp_path)
        if request.param == "sqlite"
        else await postgresql_before_upgrade(request.getfixturevalue("postgresql_server"))
    )
    await database.open()
    yield LedgerDriver(database)
    await database.close()


async def test_upgrade_keeps_every_row(office: LedgerDriver) -> None:
    assert await office.rows(DuplicateRecord, "epoch", "sequence") == [(NEXT_EPOCH, 1)]
    assert await office.rows(SessionRecord, "epoch", "sequence") == [
        (NEXT_EPOCH, 2),
        (EPOCH, 3),
        (EPOCH, 6),
    ]
    assert await office.rows(GapRecord, "first_sequence", "last_sequence") == [(1, 2), (4, 4)]


async def test_upgraded_head_office_goes_on(office: LedgerDriver) -> None:
    """Resends of a stored duplicate and of a rejected event, a new duplicate, new events."""
    resent = session(1, "a", occurredAt=wire_time(3 - 1000))
    duplicate = session(3, "c", occurredAt=wire_time(6 - 1000))

    later = await office.take(LATER, resent, session(2, "e"), duplicate)
    first = await office.take(TILL, session(7, "d"), session(8, "f"))
    response = await office.heartbeat(TILL, epochs=[{"epoch": NEXT_EPOCH, "lastSequence": 3}])

    assert (later.rejections, first.rejections) == ([], [])
    assert response == {EPOCH: 8, NEXT_EPOCH: 3}
    assert await office.rows(DuplicateRecord, "sequence") == [(1,), (3,)]


async def test_upgrade_marks_the_epoch_with_the_latest_heartbeat_as_current(
    office: LedgerDriver,
) -> None:
    """Pages read that row alone."""
    assert await office.rows(AgentRecord, "epoch", "is_current") == [
        (NEXT_EPOCH, None),
        (EPOCH, True),
    ]


async def test_upgrade_beside_a_receiver_that_stores_a_batch_waits_for_it(
    postgresql_server: PostgresqlServer,
) -> None:
    """A batch locks rows of `agents`, then reads other tables: otherwise the two deadlock."""
    url = await url_before_upgrade(postgresql_server)
    receiver = await asyncpg.connect(url.replace("+asyncpg", ""))
    upgraded = Postgresql(url)
    async with receiver.transaction():
        await receiver.execute("SELECT * FROM agents FOR UPDATE")
        opening = asyncio.ensure_future(upgraded.open())
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await rows_at(url, WAITING):  # noqa: ASYNC110 - another process's state
                await asyncio.sleep(LOOK_SECONDS)
        await receiver.execute("SELECT * FROM doubles")
    await receiver.close()
    await opening
    await upgraded.close()

    assert await rows_at(url, "SELECT version_num FROM alembic_version") == [(NEWEST_REVISION,)]
