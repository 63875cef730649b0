"""Captures that came back by salvage: only what has not come back is called lost."""

from datetime import timedelta

import pytest

from sync.protocol.wire import MAX_RETURNED_RANGES, HeartbeatAnswer
from sync.receiver.db.tables import GapRecord
from sync.receiver.ingest.acknowledge import GapName, acknowledge_gap
from sync.receiver.ingest.epochs.returned import MOVED
from sync.receiver.reports.completeness.audit import audit
from sync.receiver.reports.completeness.report import Totals
from sync.receiver.reports.completeness.state import EpochCompleteness, Range
from sync.runtime.network.http_errors import HttpError
from tests.support.head_office.audit import audit_by
from tests.support.head_office.ledger import LedgerDriver
from tests.support.head_office.messages import Members, SimulatedAgent, sessions

OLD = SimulatedAgent(epoch="epoch-of-the-file-set-aside")
NEW = SimulatedAgent(epoch="epoch-of-the-next-file")
FOR_GOOD = "gone for good: new file"


def word(*parts: Members, last: int = 9, **members: object) -> Members:
    """Return what the agent says of an epoch of which it holds no event any more."""
    named: Members = {"epoch": OLD.epoch, "lastSequence": 0, "endedReason": "new file"}
    for part in parts:
        named |= part
    return named | {"lostThrough": last} | members


def page(*ranges: list[int], after: int = 0, through: int = 9) -> Members:
    return {"returned": list(ranges), "returnedAfter": after, "returnedThrough": through}


async def gaps(office: LedgerDriver) -> list[tuple[object, ...]]:
    columns = ("first_sequence", "last_sequence", "reason", "acknowledged_by")
    return sorted(await office.rows(GapRecord, *columns))


async def audited(office: LedgerDriver) -> EpochCompleteness:
    (old,) = [one async for one in audit(office.database, None) if one.epoch == OLD.epoch]
    return old


async def acknowledged(office: LedgerDriver, **members: object) -> dict[str, int]:
    answer = await office.offer_heartbeat(NEW, **members)
    assert isinstance(answer, HeartbeatAnswer)
    return {one.epoch: one.sequence for one in answer.acknowledged}


async def acknowledge(office: LedgerDriver, first: int) -> None:
    name = GapName(OLD.name, OLD.epoch, first)
    await office.database.write(
        lambda one: acknowledge_gap(one, name, "the disk burnt", audit_by())
    )


async def test_captures_that_came_back_behind_a_hole_are_not_lost(office: LedgerDriver) -> None:
    await office.take(OLD, *sessions(1, 3))

    await office.heartbeat(NEW, epochs=[word(page([4, 4], [6, 7], [9, 9]), movedThrough=4)])

    assert await gaps(office) == [
        (4, 4, MOVED, "the agent"),
        (5, 5, FOR_GOOD, None),
        (6, 7, MOVED, "the agent"),
        (8, 8, FOR_GOOD, None),
        (9, 9, MOVED, "the agent"),
    ]
    old = await audited(office)
    assert (old.gaps, old.outstanding, old.unconfirmed) == ([Range(5, 5), Range(8, 8)], [], None)
    totals = Totals()
    totals.add(old)
    assert (totals.gaps, totals.acknowledged, totals.moved) == (2, 0, 4)


async def test_nothing_is_said_of_numbers_that_a_later_page_names(office: LedgerDriver) -> None:
    await office.take(OLD, *sessions(1, 3))

    first = await office.heartbeat(NEW, epochs=[word(page([4, 4], [6, 6], through=6))])
    of_first = (await audited(office)).gaps
    last = await office.heartbeat(NEW, epochs=[word(page([8, 9], after=6))])

    assert (first[OLD.epoch], of_first) == (6, [Range(5, 5)])
    assert (last[OLD.epoch], (await audited(office)).gaps) == (9, [Range(5, 5), Range(7, 7)])


async def test_page_beyond_what_head_office_has_heard_declares_nothing_lost(
    office: LedgerDriver,
) -> None:
    """Head office was restored to a time before the first page."""
    await office.take(OLD, *sessions(1, 3))

    accepted = await office.heartbeat(NEW, epochs=[word(page([8, 9], after=6))])

    assert (accepted[OLD.epoch], await gaps(office)) == (3, [])
    assert (await audited(office)).outstanding == [Range(4, 9)]


async def test_epoch_ends_below_captures_that_have_all_come_back(office: LedgerDriver) -> None:
    await office.take(OLD, *sessions(1, 3))
    await office.heartbeat(OLD, lastSequence=9)

    await office.heartbeat(NEW, epochs=[word(page([4, 9]), last=0, movedThrough=9)])

    old = await audited(office)
    assert (old.is_complete, old.outstanding, await gaps(office)) == (True, [], [])


async def test_numbers_that_a_restored_head_office_lost_are_not_taken_for_moved_ones(
    office: LedgerDriver,
) -> None:
    """1 to 5 were delivered under their own numbers; 4 and 5 are in no backup, and in no file."""
    await office.take(OLD, *sessions(1, 3))

    await office.heartbeat(NEW, epochs=[word(page([6, 9]), last=0, movedThrough=9)])

    assert (await audited(office)).gaps == [Range(4, 5)]


async def test_captures_that_were_gone_for_good_are_resolved_when_they_come_back(
    office: LedgerDriver,
) -> None:
    """The newest copy of the file was found on another disk a month later."""
    await office.take(OLD, *sessions(1, 3))
    await office.heartbeat(NEW, epochs=[word()])

    for _ in range(2):
        await office.heartbeat(NEW, epochs=[word(page([5, 6], [9, 9]))])

    assert await gaps(office) == [
        (4, 4, FOR_GOOD, None),
        (5, 6, MOVED, "the agent"),
        (7, 8, FOR_GOOD, None),
        (9, 9, MOVED, "the agent"),
    ]


async def test_acknowledged_gap_keeps_its_acknowledgement_when_captures_come_back(
    office: LedgerDriver,
) -> None:
    await office.take(OLD, *sessions(1, 3))
    await office.heartbeat(NEW, epochs=[word()])
    await acknowledge(office, 4)

    await office.heartbeat(NEW, epochs=[word(page([6, 9]))])

    by = {reason: by for _, _, reason, by in await gaps(office)}
    assert by[FOR_GOOD] == by[MOVED] != "the agent"
    assert {one.reason for one in (await audited(office)).acknowledged_gaps} == {"the disk burnt"}


async def test_till_cannot_resolve_the_gaps_of_another(office: LedgerDriver) -> None:
    await office.take(OLD, *sessions(1, 3))
    await office.heartbeat(NEW, epochs=[word()])
    before = await gaps(office)
    thief = SimulatedAgent(till_id="till-of-the-thief", epoch="epoch-of-the-thief")

    await office.heartbeat(thief, epochs=[word(page([1, 9]))])

    rows = await office.rows(GapRecord, "till_id", "first_sequence", "last_sequence", "reason")
    assert [row[1:] for row in rows if row[0] == OLD.till_id] == [row[:3] for row in before]


async def test_two_machines_under_one_name_resolve_nothing(office: LedgerDriver) -> None:
    """The other machine may hold these numbers, for other captures."""
    await office.take(OLD, *sessions(1, 3))
    await office.heartbeat(NEW, epochs=[word()])
    for number in range(8):
        office.at += timedelta(seconds=10)
        boot = {"bootId": f"boot-{number % 2}", "sentMonotonicUs": 10_000_000 * (number + 1)}
        await office.heartbeat((NEW, OLD)[number % 2], **boot)

    office.at += timedelta(seconds=10)
    shared = {"bootId": "boot-0", "sentMonotonicUs": 90_000_000}
    await office.heartbeat(NEW, epochs=[word(page([5, 6]))], **shared)

    assert await gaps(office) == [(4, 9, FOR_GOOD, None)]


@pytest.mark.parametrize(
    "ranges",
    [
        page([6, 5]),
        page([0, 3]),
        page([4, 6], [6, 8]),
        page([8, 9], [4, 5]),
        page([4, 10]),
        page([4, 5], after=4),
        page([4, 2**70], through=2**70),
        page(
            *([number, number] for number in range(1, 2 * MAX_RETURNED_RANGES + 3, 2)), through=9999
        ),
    ],
    ids=("reversed", "zero", "overlapping", "unordered", "beyond", "below", "huge", "too many"),
)
async def test_ranges_out_of_bounds_are_refused(office: LedgerDriver, ranges: Members) -> None:
    await office.take(OLD, *sessions(1, 3))

    with pytest.raises(HttpError, match=r"returned|range"):
        await office.heartbeat(NEW, epochs=[word(ranges)])

    assert await gaps(office) == []


async def test_false_machine_cannot_declare_numbers_moved_that_nobody_had(
    office: LedgerDriver,
) -> None:
    await office.take(OLD, *sessions(1, 3))
    beyond: Members = {"movedThrough": 2**62, **page([4, 2**62], through=2**62)}

    await office.heartbeat(NEW, epochs=[word(beyond, last=2**62)])

    assert all(int(str(last)) <= 10_003 for _, last, *_ in await gaps(office))
    assert (await audited(office)).unconfirmed is not None


async def test_loss_is_acknowledged_to_the_agent_once_no_gap_is_open(office: LedgerDriver) -> None:
    await office.take(OLD, *sessions(1, 3))
    told = [word(page([6, 7]))]
    nothing = await acknowledged(office, epochs=told)

    await acknowledge(office, 4)
    half = await acknowledged(office, epochs=told)
    await acknowledge(office, 8)

    assert (nothing, half) == ({}, {})
    assert await acknowledged(office, epochs=told) == {OLD.epoch: 9}


async def test_loss_that_is_not_recorded_yet_is_not_acknowledged(office: LedgerDriver) -> None:
    """Two events of the epoch are still to be delivered before it is judged."""
    await office.take(OLD, *sessions(1, 3))

    told = word(lastSequence=5)

    assert await acknowledged(office, epochs=[told]) == {}
