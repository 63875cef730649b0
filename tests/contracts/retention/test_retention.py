"""Retention: expired events are deleted, and their numbers stay accounted for."""

from datetime import timedelta
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete

from sync.receiver.db.tables import (
    AgentRecord,
    EmailAnswerRecord,
    GapRecord,
    RejectionRecord,
    SessionRecord,
)
from sync.receiver.db.tables import sessions as started
from sync.receiver.ingest.ledger_state import AcceptedBatch
from sync.receiver.reports.completeness.audit import audit
from sync.receiver.reports.completeness.state import EpochCompleteness, Range
from sync.receiver.retention import epoch_purge
from sync.receiver.retention.epoch_purge import MISSING_AT_PURGE, EpochPurge
from tests.contracts.reports.test_deleted_rows import HISTORIES, History, a_store
from tests.support.head_office.ledger import LedgerDriver, purge_before
from tests.support.head_office.messages import (
    AT,
    Members,
    SimulatedAgent,
    answer,
    erased,
    session,
    sessions,
)

TILL = SimulatedAgent()
DAY = timedelta(days=1)
LATER = AT + 40 * DAY


async def audited(office: LedgerDriver, till: SimulatedAgent = TILL) -> EpochCompleteness:
    (epoch,) = [one async for one in audit(office.database, till.store_id)]
    return epoch


async def test_expired_events_are_deleted_and_newer_ones_kept(office: LedgerDriver) -> None:
    await office.take(TILL, *sessions(1, 2), answer(3, "1"))
    office.at = AT + 2 * DAY
    await office.take(TILL, *sessions(4, 5))

    purged = await purge_before(office, 1)

    assert purged == 3
    assert await office.rows(SessionRecord, "sequence") == [(4,), (5,)]
    assert await office.rows(EmailAnswerRecord, "sequence") == []


async def test_purged_numbers_are_accounted_for(office: LedgerDriver) -> None:
    await office.take(TILL, *sessions(1, 5))

    await purge_before(office, 1)

    epoch = await audited(office)
    assert epoch.is_complete
    assert (epoch.purged_through, epoch.complete_through, epoch.missing) == (5, 5, [])


async def test_events_lost_after_a_purge_are_still_named(office: LedgerDriver) -> None:
    await office.take(TILL, *sessions(1, 3))
    office.at = AT + 2 * DAY
    await office.take(TILL, *sessions(4, 9))
    await purge_before(office, 1)

    gone = delete(started).where(started.c.store_id == TILL.store_id, started.c.sequence == 6)
    await office.database.write(lambda connection: connection.execute(gone) and None)

    assert (await audited(office)).missing == [Range(6, 6)]


async def test_events_lost_before_a_purge_are_recorded_as_a_gap(office: LedgerDriver) -> None:
    await office.take(TILL, *sessions(1, 9))
    lost = delete(started).where(
        started.c.store_id == TILL.store_id, started.c.sequence.in_([1, 4, 5])
    )
    await office.database.write(lambda connection: connection.execute(lost) and None)

    await purge_before(office, 1)

    noted = await office.rows(GapRecord, "first_sequence", "last_sequence", "reason", "noted_at")
    assert noted == [(1, 1, MISSING_AT_PURGE, LATER), (4, 5, MISSING_AT_PURGE, LATER)]


async def test_late_event_blocks_the_purge_of_those_behind_it(office: LedgerDriver) -> None:
    """A rejected event that was accepted later: its retention period starts then."""
    await office.take(
        TILL, session(1, "a"), session(2, "b", occurredAt="yesterday"), session(3, "c")
    )
    office.at = AT + 2 * DAY
    await office.take(TILL, session(2, "b"))

    purged = await purge_before(office, 1)

    assert purged == 1
    assert await office.rows(SessionRecord, "sequence") == [(2,), (3,)]


async def test_duplicate_of_a_purged_event_changes_nothing(office: LedgerDriver) -> None:
    await office.take(TILL, session(1, "a"), answer(2, "a"))
    await purge_before(office, 1)

    taken = await office.offer(TILL, session(1, "a"), answer(2, "a"), session(3, "b"))

    assert isinstance(taken, AcceptedBatch)
    assert (taken.accepted_through, taken.rejections) == (3, [])
    assert await office.rows(SessionRecord, "sequence") == [(3,)]
    assert await office.rows(EmailAnswerRecord, "sequence") == []


async def test_duplicate_stays_a_duplicate_after_its_original_is_purged(
    office: LedgerDriver,
) -> None:
    """If it counted as altered, it would be resent under another number and take effect twice."""
    later = SimulatedAgent(epoch="0b1f3f8e-5f0f-4b0c-8f53-8bfc0b1ad2a4")
    await office.take(TILL, session(1, "a"), answer(2, "a"))
    office.at = AT + 2 * DAY
    await office.take(later, session(1, "a"), answer(2, "a"))
    await purge_before(office, 1)

    again = await office.take(later, session(1, "a"), answer(2, "a"))

    assert again.rejections == []


def refused(sequence: int) -> Members:
    return session(sequence, f"{sequence}", occurredAt="yesterday")


async def test_rejected_event_retried_daily_does_not_block_the_purge(
    office: LedgerDriver,
) -> None:
    """Otherwise one dead letter would keep a till's addresses forever."""
    await office.take(TILL, session(1), refused(2), session(3), answer(4, "session-3"))
    office.at = AT + 2 * DAY
    await office.take(TILL, refused(2))

    assert await purge_before(office, 1) == 4

    assert await office.rows(SessionRecord, "sequence") == []
    assert await office.rows(EmailAnswerRecord, "sequence") == []


async def test_rejected_event_stays_rejected_after_its_retention_period(
    office: LedgerDriver,
) -> None:
    await office.take(TILL, session(1), refused(2), session(3))
    await purge_before(office, 1)

    again = await office.take(TILL, refused(2))

    assert [one.sequence for one in again.rejections] == [2]
    assert await office.rows(RejectionRecord, "sequence") == [(2,)]
    epoch = await audited(office)
    assert (epoch.rejected, epoch.missing, epoch.is_complete) == ([Range(2, 2)], [], True)


async def test_rejected_event_is_accepted_however_late_it_becomes_valid(
    office: LedgerDriver,
) -> None:
    """The till erases accepted events: head office must not confirm one that it did not store."""
    await office.take(TILL, session(1), refused(2), session(3))
    await purge_before(office, 1)

    taken = await office.take(TILL, session(2, "2"))

    assert taken.rejections == []
    assert await office.rows(SessionRecord, "sequence") == [(2,)]
    assert await office.rows(RejectionRecord, "sequence") == []


async def test_event_accepted_late_is_purged_after_its_own_retention_period(
    office: LedgerDriver,
) -> None:
    await office.take(TILL, session(1), refused(2), refused(3), session(4))
    await purge_before(office, 1)
    office.at = AT + 2 * DAY
    await office.take(TILL, session(2, "2"), answer(3, "2"))

    assert await purge_before(office, 2) == 0
    assert await office.rows(SessionRecord, "sequence") == [(2,)]

    assert await purge_before(office, 3) == 2
    assert await office.rows(SessionRecord, "sequence") == []
    assert await office.rows(EmailAnswerRecord, "sequence") == []
    assert (await audited(office)).is_complete


async def test_events_accepted_late_are_purged_a_few_at_a_time(
    office: LedgerDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk is found long after retention walked over its events; a SQLite file has one writer."""
    monkeypatch.setattr(epoch_purge, "NUMBERS_PER_TRANSACTION", 2)
    await office.take(TILL, *sessions(6, 7), baseSequence=6)
    await purge_before(office, 1)
    office.at = AT + 2 * DAY
    await office.take(TILL, *sessions(1, 4), answer(5, "session-1"))
    late = EpochPurge(TILL.name, TILL.epoch, has_late=True)
    delete_late = partial(late.delete_late, received_before=AT + 3 * DAY)

    deleted = [await office.database.write(delete_late) for _ in range(4)]

    assert deleted == [2, 2, 1, 0]
    again = await office.take(TILL, *sessions(1, 4), answer(5, "session-1"))
    assert again.rejections == []
    assert await office.rows(SessionRecord, "sequence") == []


async def test_gaps_are_never_purged(office: LedgerDriver) -> None:
    await office.take(TILL, *sessions(100, 101), erased(102, "100"), baseSequence=100)

    purged = await purge_before(office, 1)

    assert purged == 102
    assert (await audited(office)).gaps == [Range(1, 99), Range(102, 102)]


async def test_large_gap_is_purged_in_one_step(
    office: LedgerDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a store that lost its history would keep head office busy for hours."""
    monkeypatch.setattr(epoch_purge, "NUMBERS_PER_TRANSACTION", 1)
    far = 10**9
    await office.take(TILL, *sessions(far, far + 1), baseSequence=far)

    assert await purge_before(office, 1) == far + 1


async def test_purge_does_not_affect_other_agents(office: LedgerDriver) -> None:
    other = SimulatedAgent(store_id="0043")
    await office.take(TILL, session(1, "a"))
    office.at = AT + 2 * DAY
    await office.take(other, session(1, "a"))

    await purge_before(office, 1)

    assert await office.rows(AgentRecord, "store_id", "purged_through") == [
        ("0042", 1),
        ("0043", 0),
    ]
    assert await office.rows(SessionRecord, "store_id") == [("0043",)]


@pytest.mark.slow
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(history=HISTORIES, at_once=st.integers(1, 4))
async def test_nothing_is_missing_after_a_purge_of_any_history(
    office: LedgerDriver, history: History, at_once: int
) -> None:
    till = a_store()
    await office.take(till, *history.events(), baseSequence=history.not_held + 1)
    before = await audited(office, till)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(epoch_purge, "NUMBERS_PER_TRANSACTION", at_once)
        purged = await purge_before(office, 1)

    after = await audited(office, till)
    assert purged == after.purged_through == history.last
    assert (after.missing, after.gaps) == ([], before.gaps)
