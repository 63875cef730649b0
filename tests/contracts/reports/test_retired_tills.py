"""A retired till leaves pages, counts, completeness and metrics; a session of it is still found."""

import json
from datetime import timedelta

from sync.receiver.auth.enrolment import Enrolment
from sync.receiver.reports.completeness.report import Scope, Totals, completeness_json
from sync.receiver.reports.fleet_figures import fleet_figures
from sync.receiver.reports.json_views import find_sessions
from sync.receiver.reports.store_list import is_known_store, stores_json
from sync.receiver.reports.tills import Reference, list_tills
from sync.receiver.reports.unheard import unheard_tills
from tests.contracts.reports.test_fleet import HEALTHY, OWN_VERSION, read_details, read_page
from tests.support.head_office.audit import audit_by
from tests.support.head_office.enrolment import issue_token
from tests.support.head_office.ledger import LedgerDriver
from tests.support.head_office.messages import AT, SimulatedAgent, session, wire_time

OLD, OTHER = SimulatedAgent(), SimulatedAgent(till_id="till-2")
CLOSED = SimulatedAgent(store_id="0043")
BAD = session(3, type="x")


async def with_troubles(office: LedgerDriver) -> None:
    """Give each till a gap, a rejected and an outstanding event; all but one fall silent."""
    for till in (OLD, OTHER, CLOSED):
        await office.take(till, session(2, f"{till.store_id}-{till.till_id}"), BAD, baseSequence=2)
        await office.heartbeat(till, **HEALTHY, lastSequence=9, deadLetters=1)
    office.at += timedelta(days=1)
    await office.heartbeat(OTHER, **HEALTHY, lastSequence=3, sentAt=wire_time(86_400))


async def retire(office: LedgerDriver, store_id: str, till_id: str | None = None) -> None:
    await Enrolment(office.database).retire(store_id, till_id, office.at, audit_by())


async def totals(office: LedgerDriver, store_id: str | None = None) -> Totals:
    found, scope = Totals(), Scope(Reference(office.at, "0.1.0"), store_id)
    async for _ in completeness_json(office.database, scope, found):
        pass
    return found


async def test_retired_till_leaves_the_pages(office: LedgerDriver) -> None:
    await with_troubles(office)
    before = await read_page(office)

    await retire(office, "0042", "till-1")
    await retire(office, "0043")

    (store,) = (await read_page(office)).stores
    details = await read_details(office, "0042")
    assert before.searched == 2
    assert (store.store_id, store.tills, store.state.value) == ("0042", 1, "delivering")
    assert details is not None
    for rows in (details.tills, details.epochs, details.rejections, details.gaps):
        assert [row.till_id for row in rows] == ["till-2"]
    assert await read_details(office, "0043") is None


async def test_retired_till_leaves_lists_and_counts(office: LedgerDriver) -> None:
    await with_troubles(office)
    reference = Reference(office.at, OWN_VERSION)

    await retire(office, "0042", "till-1")
    await retire(office, "0043")

    tills = await office.database.read(lambda c: list_tills(c, reference))
    unheard = await office.database.read(lambda c: unheard_tills(c, reference))
    assert [till.till_id for till in tills] == ["till-2"]
    assert unheard.count == 0
    listed = b"".join([chunk async for chunk in stores_json(office.database)])
    assert [one["tillId"] for one in json.loads(listed)["stores"]] == ["till-2"]
    assert not await is_known_store(office.database, "0043")


async def test_retired_till_leaves_completeness(office: LedgerDriver) -> None:
    await with_troubles(office)

    await retire(office, "0042", "till-1")
    await retire(office, "0043")

    found = await totals(office)
    assert (found.epochs, found.gaps, found.outstanding, found.rejected) == (1, 1, 6, 1)


async def test_retired_till_leaves_the_metrics(office: LedgerDriver) -> None:
    await with_troubles(office)

    await retire(office, "0042", "till-1")
    await retire(office, "0043")

    reference = Reference(office.at, OWN_VERSION)
    found = await office.database.read(lambda c: fleet_figures(c, reference))
    assert (found.stores, found.rejected, found.gap_events) == (1, 1, 1)


async def test_sessions_of_a_retired_till_are_found(office: LedgerDriver) -> None:
    await with_troubles(office)

    await retire(office, "0042")

    (found,) = await find_sessions(office.database, "0042-till-1")
    assert found["tillId"] == "till-1"


async def test_enrolled_again_the_till_is_back(office: LedgerDriver) -> None:
    await with_troubles(office)
    before = await totals(office)
    await retire(office, "0042")

    enrolment = Enrolment(office.database)
    await issue_token(enrolment, OLD.name, b"x", AT)
    await issue_token(enrolment, OTHER.name, b"y", AT)

    assert await totals(office) == before


async def test_message_on_its_way_at_the_retirement_does_not_bring_the_till_back(
    office: LedgerDriver,
) -> None:
    await with_troubles(office)
    await retire(office, "0043")

    await office.heartbeat(SimulatedAgent(store_id="0043", epoch="new"), **HEALTHY)

    assert [store.store_id for store in (await read_page(office)).stores] == ["0042"]
    await issue_token(Enrolment(office.database), CLOSED.name, b"another")
    assert [store.store_id for store in (await read_page(office)).stores] == ["0042", "0043"]
