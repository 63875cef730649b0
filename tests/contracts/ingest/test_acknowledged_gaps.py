"""Acknowledged gaps: the loss is accepted and shown, and completeness no longer counts it."""

from datetime import timedelta

from sync.receiver.audit.author import Author
from sync.receiver.db.tables import AuditRecord, GapRecord
from sync.receiver.ingest.acknowledge import GapName, acknowledge_gap
from sync.receiver.ingest.gaps import Gap
from sync.receiver.reports.completeness.audit import audit
from sync.receiver.reports.completeness.report import Totals
from sync.receiver.reports.completeness.state import AcknowledgedGap, EpochCompleteness, Range
from sync.receiver.reports.fleet_figures import fleet_figures
from sync.receiver.reports.gap_list import list_gaps
from sync.receiver.reports.tills import Reference
from tests.support.head_office.audit import audit_by
from tests.support.head_office.ledger import LedgerDriver
from tests.support.head_office.messages import (
    AT,
    EPOCH,
    SimulatedAgent,
    erased,
    session,
    sessions,
)

TILL = SimulatedAgent()
ALICE = Author("alice", "test")


async def acknowledge(
    office: LedgerDriver, first: int, reason: str = "burnt down", author: Author = ALICE
) -> Gap | None:
    name = GapName(TILL.name, EPOCH, first)
    return await office.database.write(lambda c: acknowledge_gap(c, name, reason, audit_by(author)))


async def audited(office: LedgerDriver) -> list[EpochCompleteness]:
    return [epoch async for epoch in audit(office.database, None)]


async def acknowledgements(office: LedgerDriver) -> list[tuple[object, ...]]:
    names = ("first_sequence", "last_sequence", "acknowledged_by", "acknowledged_reason")
    return await office.rows(GapRecord, *names)


async def test_acknowledged_gap_no_longer_makes_an_epoch_incomplete(office: LedgerDriver) -> None:
    await office.take(TILL, *sessions(4, 5), baseSequence=4)
    (before,) = await audited(office)

    await acknowledge(office, 1)

    (after,) = await audited(office)
    totals = Totals()
    totals.add(after)
    assert (before.is_complete, before.gaps) == (False, [Range(1, 3)])
    assert (after.is_complete, after.gaps) == (True, [])
    assert after.acknowledged_gaps == [
        AcknowledgedGap(
            first=1,
            last=3,
            acknowledged_at="2026-03-04T05:06:07.000Z",
            acknowledged_by="alice",
            reason="burnt down",
        )
    ]
    assert (totals.complete, totals.gaps, totals.acknowledged) == (True, 0, 3)


async def test_another_gap_of_the_epoch_still_counts(office: LedgerDriver) -> None:
    await office.take(TILL, *sessions(4, 5), baseSequence=4)
    await office.take(TILL, *sessions(8, 8), baseSequence=8)

    await acknowledge(office, 1)

    (epoch,) = await audited(office)
    assert (epoch.is_complete, epoch.gaps) == (False, [Range(6, 7)])


async def test_acknowledged_gap_leaves_the_metrics(office: LedgerDriver) -> None:
    await office.take(TILL, *sessions(4, 5), baseSequence=4)

    await acknowledge(office, 1)

    reference = Reference(AT, "0.1.0")
    figures = await office.database.read(lambda c: fleet_figures(c, reference))
    assert figures.gap_events == 0


async def test_lost_address_can_be_acknowledged(office: LedgerDriver) -> None:
    await office.take(TILL, session(1, "one"), erased(2, "one"))

    await acknowledge(office, 2)

    (epoch,) = await audited(office)
    assert epoch.is_complete


async def test_late_event_splits_the_gap_and_both_parts_stay_acknowledged(
    office: LedgerDriver,
) -> None:
    await office.take(TILL, *sessions(6, 6), baseSequence=6)
    await acknowledge(office, 1)
    office.at += timedelta(days=1)

    await office.take(TILL, session(3))

    assert await acknowledgements(office) == [
        (1, 2, "alice", "burnt down"),
        (4, 5, "alice", "burnt down"),
    ]
    (epoch,) = await audited(office)
    assert epoch.is_complete


async def test_acknowledgement_is_recorded_with_its_reason(office: LedgerDriver) -> None:
    await office.take(TILL, *sessions(4, 5), baseSequence=4)

    await acknowledge(office, 1, "of guest@example.com")

    detail = f'{{"epoch":"{EPOCH}","first":1,"last":3,"reason":"of [address]"}}'
    assert await office.rows(AuditRecord, "action", "store_id", "till_id", "detail") == [
        ("acknowledge", "0042", "till-1", detail)
    ]


async def test_second_acknowledgement_changes_nothing(office: LedgerDriver) -> None:
    await office.take(TILL, *sessions(4, 5), baseSequence=4)
    await acknowledge(office, 1)

    again = await acknowledge(office, 1, "other", Author("bob", "test"))

    assert again is not None
    assert again.acknowledgement is not None
    assert again.acknowledgement.by == "alice"
    assert await acknowledgements(office) == [(1, 3, "alice", "burnt down")]
    assert len(await office.all_rows(AuditRecord)) == 1


async def test_number_that_begins_no_gap_is_not_acknowledged(office: LedgerDriver) -> None:
    await office.take(TILL, *sessions(4, 5), baseSequence=4)

    assert await acknowledge(office, 2) is None
    assert await acknowledge(office, 2**63 - 1) is None
    assert await office.all_rows(AuditRecord) == []


async def test_list_shows_acknowledged_gaps_as_well(office: LedgerDriver) -> None:
    await office.take(TILL, *sessions(4, 5), baseSequence=4)
    await office.take(SimulatedAgent(store_id="0043"), session(2), baseSequence=2)
    await acknowledge(office, 1)

    found = [
        (row["store_id"], row["first_sequence"], row["acknowledged_by"])
        async for rows in list_gaps(office.database)
        for row in rows
    ]
    assert found == [("0042", 1, "alice"), ("0043", 1, None)]
