"""The completeness audit names exactly the missing numbers."""

from collections.abc import Collection

import pytest
from sqlalchemy import delete

from sync.receiver.db.tables import (
    AgentRecord,
    EmailAnswerRecord,
    GapRecord,
    SessionRecord,
    table_of,
)
from sync.receiver.reports.completeness.audit import audit
from sync.receiver.reports.completeness.state import EpochCompleteness, Range
from tests.support.head_office.ledger import LedgerDriver
from tests.support.head_office.messages import SimulatedAgent, answer, erased, session, sessions

TILL = SimulatedAgent()
_sessions = table_of(SessionRecord)


async def audited(office: LedgerDriver, store_id: str | None = None) -> list[EpochCompleteness]:
    return [epoch async for epoch in audit(office.database, store_id)]


async def remove(office: LedgerDriver, numbers: Collection[int]) -> None:
    """Delete sessions of the till directly in the database."""
    gone = delete(_sessions).where(
        _sessions.c.store_id == TILL.store_id, _sessions.c.sequence.in_(numbers)
    )
    await office.database.write(lambda connection: connection.execute(gone) and None)


def numbers_in(ranges: Collection[Range]) -> list[int]:
    return [number for one in ranges for number in range(one.first, one.last + 1)]


async def test_store_is_complete_if_everything_arrived(office: LedgerDriver) -> None:
    await office.take(TILL, *sessions(1, 3))

    (epoch,) = await audited(office)

    assert epoch.is_complete
    assert (epoch.accepted_through, epoch.complete_through) == (3, 3)


@pytest.mark.parametrize("gone", [[1], [9], [4, 5, 6], [1, 2, 9], [2, 4, 6, 8], list(range(1, 10))])
async def test_deleted_rows_are_named_exactly(office: LedgerDriver, gone: list[int]) -> None:
    await office.take(TILL, *sessions(1, 9))
    await office.take(SimulatedAgent(store_id="0043"), *sessions(1, 9))
    await remove(office, gone)

    ours, theirs = await audited(office)

    assert numbers_in(ours.missing) == gone
    assert (ours.complete_through, ours.is_complete) == (gone[0] - 1, False)
    assert theirs.is_complete


async def test_rejected_and_duplicate_events_and_answers_are_accounted_for(
    office: LedgerDriver,
) -> None:
    await office.take(
        TILL, session(1, "one"), answer(2, "one"), session(3, "one", occurredAt="yesterday")
    )

    (epoch,) = await audited(office)

    assert epoch.is_complete
    assert epoch.rejected == [Range(3, 3)]


async def test_events_announced_by_a_heartbeat_are_outstanding(office: LedgerDriver) -> None:
    await office.take(TILL, *sessions(1, 2))
    await office.heartbeat(TILL, lastSequence=5)

    (epoch,) = await audited(office)

    assert (epoch.outstanding, epoch.missing) == ([Range(3, 5)], [])
    assert not epoch.is_complete


async def test_events_no_longer_held_by_the_agent_are_a_gap_and_not_missing(
    office: LedgerDriver,
) -> None:
    await office.take(TILL, session(4), baseSequence=4)

    (epoch,) = await audited(office)

    assert (epoch.gaps, epoch.missing) == ([Range(1, 3)], [])
    assert not epoch.is_complete


async def test_deleted_answer_is_missing_even_if_its_erased_address_is_recorded(
    office: LedgerDriver,
) -> None:
    """The gap of an erased address accompanies the row and does not replace it."""
    await office.take(TILL, session(1, "one"), erased(2, "one"))
    assert await office.all_rows(GapRecord)
    answers = table_of(EmailAnswerRecord)
    await office.database.write(lambda connection: connection.execute(delete(answers)) and None)

    (epoch,) = await audited(office)

    assert epoch.missing == [Range(2, 2)]


async def test_audit_of_one_store_contains_only_that_store(office: LedgerDriver) -> None:
    for store in ("0042", "0043"):
        await office.take(SimulatedAgent(store_id=store), session(1))
    assert len(await office.all_rows(AgentRecord)) == 2

    assert [epoch.store_id for epoch in await audited(office, "0043")] == ["0043"]
