"""Every statement on PostgreSQL is keyed by `store_id`, or is listed here."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from sync.receiver.auth.enrolment import Enrolment
from sync.receiver.db.database import Database
from sync.receiver.db.postgresql import Postgresql
from sync.receiver.export.selection import ExportTable, Selection
from sync.receiver.privacy.forget import forget_address
from sync.receiver.privacy.redaction import Address
from sync.receiver.reports.completeness.audit import audit
from sync.receiver.retention.purge import purge, purge_hours
from tests.support.head_office.audit import audit_by
from tests.support.head_office.citus import is_restricted_to_store, recorded_statements
from tests.support.head_office.ledger import LedgerDriver
from tests.support.head_office.messages import (
    AT,
    SimulatedAgent,
    answer,
    erased,
    session,
    wire_time,
)
from tests.support.head_office.postgresql import PostgresqlServer
from tests.support.head_office.receiver import Receiver, receiver_under_test, settings_in


async def use(receiver: Receiver, till: SimulatedAgent) -> None:
    """Send every kind of event: new, resent, altered, rejected, missing, restored, new epoch."""
    await receiver.enroll(till)
    await receiver.heartbeat(till, lastSequence=2)
    await receiver.send(till, session(3, "a"), erased(4, "a"), baseSequence=3)
    await receiver.send(till, session(3, "a"), answer(4, "a"), answer(5, "b"), session(6, "c"))
    await receiver.send(
        till, session(1, "d"), session(3, "e"), session(5, "b"), session(7, "c", body={})
    )
    await receiver.send(till, session(9, "f"))
    later = SimulatedAgent(till.store_id, till.till_id, "0b1f3f8e-5f0f-4b0c-8f53-8bfc0b1ad2a4")
    # The first epoch's session again, under another number.
    await receiver.send(later, session(1, "a", occurredAt=wire_time(3 - 1000)), answer(2, "b"))
    await receiver.heartbeat(later, epochs=[{"epoch": till.epoch, "lastSequence": 9}])
    token = receiver.tokens[till.store_id, till.till_id]
    await receiver.get("/sync/v1/program", Authorization=f"Bearer {token}")


async def test_agent_requests_touch_only_their_store(
    postgresql_server: PostgresqlServer, till: SimulatedAgent, tmp_path: Path
) -> None:
    url = await postgresql_server.new_database()
    async with receiver_under_test(settings_in(tmp_path, database={"url": url})) as receiver:
        with recorded_statements() as statements:
            await use(receiver, till)

    assert [one for one in statements if not is_restricted_to_store(one)] == []
    changed = {" ".join(one.split()[:3]) for one in statements if not one.startswith("SELECT")}
    assert changed >= {
        "INSERT INTO tokens",
        "INSERT INTO agents",
        "INSERT INTO boots",
        "INSERT INTO sessions",
        "INSERT INTO email_answers",
        "INSERT INTO rejections",
        "INSERT INTO duplicates",
        "INSERT INTO gaps",
        "INSERT INTO hours",
    }


# Pages and probes over the whole chain may read all stores, in short reads. The pattern also
# finds changes within a WITH, and row locks.
CHANGES = re.compile(r"\b(INSERT|UPDATE|DELETE|FOR SHARE)\b")
READ_OF_ALL_STORES = {
    "/readyz": "whether the database can be read: one row of any store",
    "/": "the fleet page",
    "/history": "the plots' page",
    "/metrics": "the fleet in a few figures",
    "/history.json": "the plots' figures",
    "/sessions?id=a": "a correlation id is asked for without its store",
    "/v1/completeness": "the account of all stores",
    "/v1/stores": "all enrolled tills, and how far each is",
    "/v1/sessions/a": "a correlation id is asked for without its store",
}


@pytest.mark.parametrize("path", READ_OF_ALL_STORES)
async def test_statements_over_all_stores_are_reads(
    postgresql_server: PostgresqlServer, till: SimulatedAgent, tmp_path: Path, path: str
) -> None:
    url = await postgresql_server.new_database()
    async with receiver_under_test(settings_in(tmp_path, database={"url": url})) as receiver:
        await receiver.enroll(till)
        await receiver.send(till, session(1, "a"), answer(2, "a"))
        with recorded_statements() as statements:
            assert (await receiver.get(path)).status == 200

    of_all = [one for one in statements if not is_restricted_to_store(one)]
    assert of_all
    assert [one for one in of_all if CHANGES.search(one)] == []


async def drain(items: AsyncIterator[object]) -> None:
    async for _ in items:
        pass


async def audit_all(database: Database) -> None:
    await drain(audit(database, None))


async def export_all(database: Database) -> None:
    for table in ExportTable:
        await drain(Selection(table).pages(database))


async def forget_everywhere(database: Database) -> None:
    await forget_address(database, Address.parse("guest@example.com"), audit_by())


async def enroll_a_list(database: Database) -> None:
    new = [(SimulatedAgent(store).name, store.encode()) for store in ("0042", "0043")]
    await Enrolment(database).enroll(new, AT, audit_by())


async def purge_all(database: Database) -> None:
    await purge(database, AT + timedelta(days=1), AT)
    await purge_hours(database, AT + timedelta(days=1))


# Iteration over the stores looks up the next store id: one index lookup per table.
NEXT_STORE = re.compile(r"SELECT min\(\w+\.\w+\) AS \w+ *\s+FROM \(SELECT min\(\w+\.store_id\)")
# Enrolments of a list of agents: the stores are bound as one parameter.
OF_A_LIST = re.compile(
    r"SELECT (?:DISTINCT )?(tokens|agents)\..*\sWHERE"
    r" \1\.store_id = ANY \(ARRAY\(SELECT \w+\(\(\$1",
    re.DOTALL,
)


@pytest.mark.parametrize(
    ("command", "of_all_stores"),
    [
        (audit_all, NEXT_STORE),
        (export_all, NEXT_STORE),
        (forget_everywhere, NEXT_STORE),
        (purge_all, NEXT_STORE),
        (enroll_a_list, OF_A_LIST),
    ],
)
async def test_command_processes_the_chain_store_by_store(
    postgresql_server: PostgresqlServer,
    till: SimulatedAgent,
    command: Callable[[Database], Awaitable[None]],
    of_all_stores: re.Pattern[str],
) -> None:
    database = Postgresql(await postgresql_server.new_database())
    await database.open()
    office = LedgerDriver(database)
    await office.take(till, session(1, "guest@example.com"), answer(2, "guest@example.com"))
    with recorded_statements() as statements:
        await command(database)
    await database.close()

    of_all = [one for one in statements if not is_restricted_to_store(one)]
    assert of_all
    assert [one for one in of_all if not of_all_stores.match(one)] == []


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM sessions WHERE sessions.correlation_id = $1",
        "UPDATE agents SET store_id = $1",
        "DELETE FROM gaps",
        "INSERT INTO boots (till_id, boot_id) VALUES ($1, $2)",
        "INSERT INTO gaps (store_id) SELECT sessions.store_id FROM sessions",
        "SELECT * FROM sessions WHERE sessions.store_id IN (SELECT agents.store_id FROM agents)",
        (
            "SELECT * FROM sessions JOIN agents ON agents.epoch = sessions.epoch"
            " WHERE sessions.store_id = $1"
        ),
        "SELECT * FROM sessions, agents WHERE sessions.store_id = $1",
        "SELECT * FROM gaps AS a JOIN gaps AS b ON a.epoch = b.epoch WHERE a.store_id = $1",
        (
            "SELECT * FROM gaps WHERE gaps.store_id = $1 AND EXISTS"
            " (SELECT * FROM agents WHERE agents.epoch = gaps.epoch)"
        ),
        "SELECT * FROM gaps WHERE gaps.store_id = $1 UNION ALL SELECT * FROM gaps",
    ],
)
def test_statement_over_all_stores_is_detected(statement: str) -> None:
    assert not is_restricted_to_store(statement)


@pytest.mark.parametrize(
    "statement",
    [
        (
            "SELECT * FROM sessions LEFT OUTER JOIN agents ON agents.store_id = sessions.store_id"
            " AND agents.epoch = sessions.epoch WHERE sessions.store_id = $1"
        ),
        (
            "SELECT * FROM gaps WHERE gaps.store_id = $1 AND NOT (EXISTS"
            " (SELECT * FROM agents WHERE agents.store_id = gaps.store_id))"
        ),
        "SELECT * FROM gaps AS a JOIN gaps AS b ON a.store_id = b.store_id WHERE a.store_id = $1",
        "INSERT INTO gaps (store_id, till_id) SELECT store_id, till_id FROM unnest($1)",
    ],
)
def test_join_within_a_store_is_recognised(statement: str) -> None:
    assert is_restricted_to_store(statement)
