"""Absurdly large numbers, or times, from one agent affect no other."""

import pytest
from sqlalchemy import Connection

from sync.receiver.reports.completeness.audit import audit
from sync.receiver.reports.fleet import FleetQuery, fleet_page
from sync.receiver.reports.fleet_figures import fleet_figures
from sync.receiver.reports.store_details import store_details
from sync.receiver.reports.store_list import stores_json
from sync.receiver.reports.tills import Reference
from tests.support.head_office.ledger import LedgerDriver
from tests.support.head_office.messages import SimulatedAgent, session

MOST = 2**63 - 1
AT_LAST = session(1) | {"sequence": MOST}
TILLS = [SimulatedAgent(), SimulatedAgent(till_id="till-2"), SimulatedAgent(store_id="0043")]


async def test_totals_do_not_overflow(office: LedgerDriver) -> None:
    for till in TILLS:
        most = {"lastSequence": MOST, "watermark": MOST, "outstanding": MOST, "deadLetters": MOST}
        await office.heartbeat(till, **most, freeBytes=MOST, databaseBytes=MOST)

    def read(connection: Connection) -> tuple[int, int]:
        reference = Reference(office.at, "0.1.0")
        assert store_details(connection, reference, "0042") is not None
        page = fleet_page(connection, reference, FleetQuery())
        return len(page.stores), fleet_figures(connection, reference).stores

    assert await office.database.read(read) == (2, 2)


async def test_audit_handles_the_largest_sequence_number(office: LedgerDriver) -> None:
    for till in TILLS:
        await office.take(till, AT_LAST, baseSequence=MOST)

    found = [one async for one in audit(office.database, None)]

    assert [one.complete_through for one in found] == [MOST] * len(TILLS)
    assert [one.missing for one in found] == [[]] * len(TILLS)
    reference = Reference(office.at, "0.1.0")
    figures = await office.database.read(lambda connection: fleet_figures(connection, reference))
    assert figures.gap_events >= MOST


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"])
async def test_till_with_a_clock_out_of_range_hides_no_store_from_readers(
    office: LedgerDriver, time: str
) -> None:
    """An agent shows such a clock as the first or last time there is: for PostgreSQL, infinity."""
    of_clock = {"sentAt": time, "oldestUndeliveredAt": time, "lastActivityAt": time}
    for till in TILLS:
        await office.take(till, session(1, occurredAt=time), sentAt=time)
        await office.heartbeat(till, **of_clock)
        await office.heartbeat(till, **of_clock)

    listed = b"".join([chunk async for chunk in stores_json(office.database)])
    audited = [one async for one in audit(office.database, None)]

    assert listed.count(f"{time[:19]}".encode()) >= len(TILLS)
    assert len(audited) == len(TILLS)
