"""An epoch whose row in `agents` was deleted is rebuilt from its remaining rows."""

from sqlalchemy import delete

from sync.receiver.db.tables import (
    AgentRecord,
    DuplicateRecord,
    GapRecord,
    RejectionRecord,
    SessionRecord,
    agents,
)
from sync.receiver.db.tables import sessions as started
from sync.receiver.ingest.placement import SequenceGap
from sync.receiver.reports.completeness.audit import audit
from sync.receiver.reports.completeness.state import Range
from tests.support.head_office.ledger import LedgerDriver
from tests.support.head_office.messages import SimulatedAgent, session, sessions

TILL = SimulatedAgent()


async def lose_agents(office: LedgerDriver) -> None:
    await office.database.write(lambda connection: connection.execute(delete(agents)) and None)


async def test_stored_numbers_are_not_a_gap_although_the_agent_no_longer_holds_them(
    office: LedgerDriver,
) -> None:
    await office.take(TILL, *sessions(1, 5))
    await lose_agents(office)

    taken = await office.take(TILL, *sessions(6, 7), baseSequence=6)

    assert taken.accepted_through == 7
    assert await office.rows(GapRecord, "first_sequence") == []
    (epoch,) = [one async for one in audit(office.database, TILL.store_id)]
    assert (epoch.is_complete, epoch.complete_through) == (True, 7)


async def test_heartbeat_records_no_gap_for_stored_numbers(office: LedgerDriver) -> None:
    await office.take(TILL, *sessions(3, 5), baseSequence=3)
    await lose_agents(office)

    response = await office.heartbeat(TILL, lastSequence=9, baseSequence=6, epochs=[])

    assert response == {TILL.epoch: 5}
    assert await office.rows(AgentRecord, "accepted_through", "last_sequence") == [(5, 9)]
    assert await office.rows(GapRecord, "first_sequence", "last_sequence") == [(1, 2)]


async def test_resent_events_are_duplicates(office: LedgerDriver) -> None:
    """Otherwise the unique key would fail the insert of a rejected event forever."""
    wrong = session(2, occurredAt="yesterday")
    await office.take(TILL, session(1), wrong, session(3))
    await lose_agents(office)

    taken = await office.take(TILL, session(1), wrong, *sessions(3, 4))

    assert (taken.accepted_through, [one.sequence for one in taken.rejections]) == (4, [2])
    assert await office.rows(SessionRecord, "sequence") == [(1,), (3,), (4,)]
    assert await office.rows(RejectionRecord, "sequence") == [(2,)]
    assert await office.rows(DuplicateRecord, "sequence") == []


async def test_gap_alone_accounts_for_its_numbers(office: LedgerDriver) -> None:
    await office.know(TILL, 9)
    await office.heartbeat(TILL, lastSequence=9, baseSequence=10, epochs=[])
    await lose_agents(office)

    assert await office.heartbeat(TILL, lastSequence=9, baseSequence=10, epochs=[]) == {
        TILL.epoch: 9
    }
    assert await office.rows(GapRecord, "first_sequence", "last_sequence") == [(1, 9)]


async def test_events_after_the_last_stored_one_are_requested(office: LedgerDriver) -> None:
    await office.take(TILL, *sessions(1, 3))
    await lose_agents(office)

    assert await office.offer(TILL, *sessions(5, 6)) == SequenceGap(4)


async def test_deleted_event_below_the_last_stored_one_is_missing_and_not_a_gap(
    office: LedgerDriver,
) -> None:
    await office.take(TILL, *sessions(1, 3))
    gone = delete(started).where(started.c.store_id == TILL.store_id, started.c.sequence == 2)
    await office.database.write(lambda connection: connection.execute(gone) and None)
    await lose_agents(office)

    await office.take(TILL, session(4), baseSequence=4)

    (epoch,) = [one async for one in audit(office.database, TILL.store_id)]
    assert (epoch.missing, epoch.gaps) == ([Range(2, 2)], [])
