"""Reading stays cheap however many rows one till makes: constant for pages, proportional for lists.

Thirty-two times the rows may take a page four times as long, eight times the rows a list sixteen.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from sqlalchemy import Connection, Table, text

from sync.receiver.auth.enrolment import Enrolment
from sync.receiver.db.bulk_insert import insert_rows
from sync.receiver.db.database import Database
from sync.receiver.db.tables import agents, answers, boots, gaps, rejections
from sync.receiver.reports.completeness.report import Scope, completeness_json
from sync.receiver.reports.fleet import FleetQuery, fleet_page
from sync.receiver.reports.fleet_figures import fleet_figures
from sync.receiver.reports.json_views import find_sessions
from sync.receiver.reports.store_details import store_details
from sync.receiver.reports.store_list import stores_json
from sync.receiver.reports.tills import Reference
from tests.support.head_office.enrolment import issue_token
from tests.support.head_office.growth import clock_for, fastest
from tests.support.head_office.ledger import LedgerDriver
from tests.support.head_office.messages import AT, EPOCH, SimulatedAgent, session

TILL = SimulatedAgent()
KEY = {"store_id": TILL.store_id, "till_id": TILL.till_id}
REFERENCE = Reference(AT, "0.1.0")
Read = Callable[[Database], Awaitable[object]]
FEW, MANY = 1_200, 38_400
pytestmark = pytest.mark.slow


async def read_fleet(database: Database) -> object:
    return await database.read(lambda c: fleet_page(c, REFERENCE, FleetQuery()))


async def read_store(database: Database) -> object:
    return await database.read(lambda c: store_details(c, REFERENCE, TILL.store_id))


async def read_figures(database: Database) -> object:
    return await database.read(lambda c: fleet_figures(c, REFERENCE))


async def read_list(database: Database) -> None:
    async for _ in stores_json(database):
        pass


async def read_completeness(database: Database) -> None:
    async for _ in completeness_json(database, Scope(REFERENCE, TILL.store_id)):
        pass


async def read_session(database: Database) -> object:
    return await find_sessions(database, "session-1")


def epoch(number: int) -> dict[str, object]:
    row = dict.fromkeys(column.name for column in agents.c) | KEY
    numbers = {"accepted_through": 0, "last_sequence": 1, "purged_through": 0}
    return row | {"epoch": f"old-{number:06}"} | numbers


def rejection(number: int) -> dict[str, object]:
    texts = dict.fromkeys(("type", "correlation_id", "error_code", "error_message"), "x")
    time = {"received_at": AT + timedelta(seconds=number)}
    return KEY | {"epoch": EPOCH, "sequence": 2 * number} | texts | time


def gap(number: int) -> dict[str, object]:
    row = dict.fromkeys(column.name for column in gaps.c) | KEY | {"epoch": EPOCH, "reason": "x"}
    numbers = {"first_sequence": 2 * number, "last_sequence": 2 * number}
    return row | numbers | {"noted_at": AT + timedelta(seconds=number)}


def answer(number: int) -> dict[str, object]:
    row = dict.fromkeys(column.name for column in answers.c) | KEY
    texts = {"epoch": EPOCH, "correlation_id": "session-1", "status": "accepted", "body": "{}"}
    times = {"occurred_at": AT, "received_at": AT, "corrected_at": AT, "clock_trusted": True}
    return row | {"sequence": number + 2, "address_erased": False} | texts | times


def boot(number: int) -> dict[str, object]:
    row = dict.fromkeys(column.name for column in boots.c) | KEY
    return row | {"boot_id": f"{number:06}", "zero_at": AT - timedelta(minutes=number)}


ROWS: dict[str, tuple[Table, Callable[[int], dict[str, object]]]] = {
    "epochs": (agents, epoch),
    "rejections": (rejections, rejection),
    "gaps": (gaps, gap),
    "answers": (answers, answer),
    "boots": (boots, boot),
}


async def add(office: LedgerDriver, kind: str, first: int, last: int) -> None:
    table, row = ROWS[kind]
    rows = [row(number) for number in range(first, last)]

    def insert(connection: Connection) -> None:
        insert_rows(connection, table, rows)
        if connection.dialect.name == "postgresql":
            # As the server's autovacuum does by itself a little later.
            connection.execute(text(f"ANALYZE {table.name}"))

    await office.database.write(insert)


async def ratio(
    office: LedgerDriver, kind: str, read: Read, few: int, many: int, limit: float
) -> float:
    """Return how many times as long `read` takes with `many` rows as with `few`."""
    await issue_token(Enrolment(office.database), TILL.name, b"secret")
    await office.take(TILL, session(1))
    await office.heartbeat(TILL, lastSequence=10**6)
    await add(office, kind, 1, few)
    clock = clock_for(office.database)
    before = await fastest(lambda: read(office.database), clock)
    await add(office, kind, few, many)
    return await fastest(lambda: read(office.database), clock, enough=limit * before) / before


@pytest.mark.parametrize(
    ("kind", "read"),
    [
        ("epochs", read_fleet),
        ("epochs", read_store),
        ("epochs", read_figures),
        ("rejections", read_store),
        ("gaps", read_store),
    ],
)
async def test_page_takes_as_long_with_32_times_the_rows(
    office: LedgerDriver, kind: str, read: Read
) -> None:
    assert await ratio(office, kind, read, FEW, MANY, limit=4) < 4


@pytest.mark.parametrize(
    ("kind", "read"),
    [
        ("epochs", read_list),
        ("epochs", read_completeness),
        ("rejections", read_completeness),
        ("gaps", read_completeness),
        ("answers", read_session),
    ],
)
async def test_list_takes_time_in_proportion_to_its_rows(
    office: LedgerDriver, kind: str, read: Read
) -> None:
    few = 500
    assert await ratio(office, kind, read, few, 8 * few, limit=16) < 16


@pytest.mark.parametrize("kind", ["epochs", "rejections", "gaps", "boots"])
async def test_heartbeat_takes_as_long_with_32_times_the_rows(
    office: LedgerDriver, kind: str
) -> None:
    """It holds the only writer on SQLite, and its answer lists rejected events."""
    boots_sent = iter(range(10**6))

    async def send(_: Database) -> None:
        sent: dict[str, object] = {"bootId": f"new-{next(boots_sent)}", "lastSequence": 10**6}
        await office.heartbeat(TILL, **sent)

    assert await ratio(office, kind, send, FEW, MANY, limit=4) < 4
