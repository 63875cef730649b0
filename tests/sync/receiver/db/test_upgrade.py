"""A head office written by the previous schema opens, migrates and goes on."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import asyncpg
import pytest

from sync.receiver.db.database import Database
from sync.receiver.db.postgresql import Postgresql
from sync.receiver.db.sqlite import SqliteFile
from sync.receiver.db.tables import AgentRecord, DuplicateRecord, GapRecord, SessionRecord
from tests.support.head_office.ledger import LedgerDriver
from tests.support.head_office.messages import EPOCH, SimulatedAgent, session, wire_time
from tests.support.head_office.postgresql import PostgresqlServer

DUMPS = Path(__file__).parent / "written_by_0003"
NEXT_EPOCH = "0b1f3f8e-5f0f-4b0c-8f53-8bfc0b1ad2a4"
TILL, LATER = SimulatedAgent(), SimulatedAgent(epoch=NEXT_EPOCH)


def sqlite_before_upgrade(directory: Path) -> Database:
    with closing(sqlite3.connect(directory / "hq.db")) as connection:
        connection.executescript((DUMPS / "sqlite.sql").read_text())
    return SqliteFile(directory / "hq.db")


async def postgresql_before_upgrade(server: PostgresqlServer) -> Database:
    url = await server.new_database()
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    await connection.execute((DUMPS / "postgresql.sql").read_text())
    await connection.close()
    return Postgresql(url)


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
