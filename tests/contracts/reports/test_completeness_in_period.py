"""Completeness of a period: what was captured in it and is here, and what may be missing of it."""

from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import delete

from sync.receiver.auth.enrolment import Enrolment
from sync.receiver.db.period import Period, parse_period
from sync.receiver.db.tables import sessions as session_table
from sync.receiver.export.selection import Selection
from sync.receiver.reports.completeness.audit import audit
from sync.receiver.reports.completeness.in_period import narrowed
from sync.receiver.reports.completeness.state import EpochCompleteness, Range
from sync.receiver.reports.tills import Reference
from sync.receiver.reports.unheard import Unheard, unheard_tills
from tests.support.head_office.enrolment import issue_token
from tests.support.head_office.ledger import LedgerDriver
from tests.support.head_office.messages import AT, SimulatedAgent, answer, session, wire_time

TILL = SimulatedAgent()
NEW = replace(TILL, epoch="0b4d5f1e-7f0a-4f0e-8f43-1c1c4d9a7e21")
DAY = timedelta(days=1)
DAY_SECONDS = 86_400
# The day before AT, to the second.
YESTERDAY = Period(AT - DAY, AT)


def captured(sequence: int, days_before: float) -> dict[str, object]:
    return session(sequence, occurredAt=wire_time(-days_before * DAY_SECONDS))


async def of_yesterday(office: LedgerDriver) -> list[EpochCompleteness]:
    return [epoch async for epoch in audit(office.database, None, YESTERDAY)]


async def unheard(office: LedgerDriver, period: Period | None = None) -> Unheard:
    reference, until = Reference(office.at, "0.1.0"), period.until if period else None
    return await office.database.read(lambda c: unheard_tills(c, reference, None, until))


async def test_captures_count_by_their_time_and_the_end_is_not_included(
    office: LedgerDriver,
) -> None:
    days = (1.5, 1.001, 1.0, 0.5, 0.0001, 0.0)
    await office.take(TILL, *(captured(number, day) for number, day in enumerate(days, 1)))
    await office.take(TILL, answer(7, "session-6", occurredAt=wire_time(0)))

    [epoch] = await of_yesterday(office)
    exported = Selection(captured=YESTERDAY).pages(office.database)
    rows = [row["sequence"] async for page in exported for row in page]

    assert (epoch.captured, epoch.untrusted_times, epoch.is_complete) == (3, 0, True)
    assert rows == [3, 4, 5]


async def test_capture_of_a_wrong_clock_counts_by_its_corrected_time(office: LedgerDriver) -> None:
    """The till believed that it was 1970; its boot clock tells when it was."""
    wrong = session(1, occurredAt="1970-01-01T00:00:00Z", monotonicUs=1_000_000)
    sent_us = (DAY // 2) // timedelta(microseconds=1) + 1_000_000
    await office.heartbeat(TILL, sentMonotonicUs=sent_us - 20_000_000)
    office.at += timedelta(seconds=20)
    await office.take(TILL, wrong, sentMonotonicUs=sent_us)

    [epoch] = await of_yesterday(office)

    assert (epoch.captured, epoch.untrusted_times) == (1, 0)


async def test_capture_without_a_trusted_time_counts_by_its_receipt_and_is_named(
    office: LedgerDriver,
) -> None:
    office.at = AT - timedelta(hours=2)
    await office.take(TILL, session(1, occurredAt="1970-01-01T00:00:00Z"))

    [epoch] = await of_yesterday(office)

    assert (epoch.captured, epoch.untrusted_times) == (1, 1)


@pytest.mark.parametrize(
    ("days", "lacks"),
    [
        pytest.param((2.5, 2.2, 2.0, 1.5), False, id="before the period"),
        pytest.param((2.5, 0.7, 0.6, 0.5), True, id="in the period"),
        pytest.param((2.5, 1.5, 0.5, 0.4), True, id="perhaps in the period"),
        pytest.param((0.7, -0.2, -0.3, -0.4), True, id="perhaps at its end"),
        pytest.param((-0.1, -0.2, -0.3, -0.4), False, id="after the period"),
    ],
)
async def test_missing_number_counts_if_it_may_have_been_captured_in_the_period(
    office: LedgerDriver, days: tuple[float, ...], *, lacks: bool
) -> None:
    office.at = AT + DAY
    await office.take(TILL, *(captured(number, day) for number, day in enumerate(days, 1)))
    gone = delete(session_table).where(session_table.c.sequence == 2)
    await office.database.write(lambda connection: connection.execute(gone) and None)

    [epoch] = await of_yesterday(office)

    assert epoch.missing == ([Range(2, 2)] if lacks else [])
    assert epoch.is_complete is not lacks


@pytest.mark.parametrize(("last_days", "lacks"), [(0.5, True), (-0.5, False)])
async def test_outstanding_captures_count_unless_the_last_one_here_is_of_later(
    office: LedgerDriver, last_days: float, *, lacks: bool
) -> None:
    office.at = AT + DAY
    await office.take(TILL, captured(1, 2), captured(2, last_days))
    await office.heartbeat(TILL, lastSequence=9)

    [epoch] = await of_yesterday(office)

    assert bool(epoch.outstanding) is lacks


@pytest.mark.parametrize(("last_days", "is_unconfirmed"), [(0.5, True), (-0.5, False)])
async def test_machine_that_died_after_the_period_does_not_spoil_its_proof(
    office: LedgerDriver, last_days: float, *, is_unconfirmed: bool
) -> None:
    office.at = AT + DAY
    await office.take(TILL, captured(1, 0.6), captured(2, last_days))
    await office.heartbeat(TILL, lastSequence=2)
    office.at += DAY
    await office.heartbeat(SimulatedAgent(epoch="11111111-2222-4333-8444-555555555555"))

    found = {epoch.epoch: epoch for epoch in await of_yesterday(office)}

    assert (found[TILL.epoch].unconfirmed is not None) is is_unconfirmed


async def test_report_names_the_tills_that_it_cannot_speak_for(office: LedgerDriver) -> None:
    tills = [SimulatedAgent(store_id=name) for name in ("closed", "full", "silent", "well")]
    await issue_token(Enrolment(office.database), SimulatedAgent("new").name, b"x" * 32)
    await office.heartbeat(tills[0], closed=True)
    await office.heartbeat(tills[1], closed=True, lastSequence=3, outstanding=3)
    await office.heartbeat(tills[2])
    office.at += timedelta(hours=1)
    await office.heartbeat(tills[3])

    now, earlier = await unheard(office), await unheard(office, YESTERDAY)

    assert [(one.store_id, str(one.state)) for one in now.tills] == [
        ("full", "closed-waiting"),
        ("silent", "silent"),
    ]
    assert (now.count, now.not_installed, now.closed) == (2, 1, 1)
    # It was heard after the end of the period: head office knows all that it captured in it.
    assert [one.store_id for one in earlier.tills] == ["full"]
    # It was closed after the end of the period as well.
    assert earlier.closed == 0


async def test_till_that_was_last_heard_before_the_end_of_the_period_is_named_at_once(
    office: LedgerDriver,
) -> None:
    """Its line was cut a minute before midnight: what it captured in that minute is not known."""
    office.at = AT - timedelta(minutes=1)
    await office.heartbeat(TILL)
    office.at = AT + timedelta(minutes=1)

    now, of_the_day = await unheard(office), await unheard(office, YESTERDAY)
    open_end = await unheard(office, Period(AT - DAY, AT + DAY))

    assert [str(one.state) for one in of_the_day.tills] == ["delivering"]
    assert (now.count, open_end.count) == (0, 0)


@pytest.mark.parametrize(
    ("given", "start"),
    [
        ("2026-11-23", "2026-11-23T00:00:00+00:00"),
        ("2026-11-23+01:00", "2026-11-22T23:00:00+00:00"),
        ("2026-11-23-05:00", "2026-11-23T05:00:00+00:00"),
        ("2026-11-23T08:00+01:00", "2026-11-23T07:00:00+00:00"),
    ],
)
def test_day_begins_in_utc_unless_it_has_an_offset(given: str, start: str) -> None:
    since = parse_period(given, None).since

    assert since is not None
    assert since.isoformat() == start


@pytest.mark.parametrize(
    ("since", "until"),
    [
        ("2026-11-24", "2026-11-23"),
        ("2026-11-23", "2026-11-23"),
        ("2026-13-01", None),
        ("2026-11-23 local", None),
        (None, "2026-11-23T08:00"),
        ("2026-11-23+25:00", None),
    ],
)
def test_wrong_periods_are_refused(since: str | None, until: str | None) -> None:
    with pytest.raises(ValueError, match=r"expected a day|must be later"):
        parse_period(since, until)


async def test_captures_are_counted_in_whichever_order_the_database_has_its_texts(
    office: LedgerDriver,
) -> None:
    """PostgreSQL has them in the order of its collation: `a` before `B`."""
    for till_id in ("B", "a"):
        event = session(1, till_id, occurredAt=wire_time(-DAY_SECONDS / 2))
        await office.take(replace(TILL, till_id=till_id), event)
    epochs = [epoch async for epoch in audit(office.database, TILL.store_id)]

    for order in (epochs, epochs[::-1]):
        read = partial(narrowed, epochs=order, period=YESTERDAY)
        assert [one.captured for one in await office.database.read(read)] == [1, 1]


@pytest.mark.parametrize("has_arrived", [False, True])
async def test_salvaged_captures_that_are_outstanding_are_of_the_day_of_their_capture(
    office: LedgerDriver, *, has_arrived: bool
) -> None:
    """They have numbers behind those of today: the proof of yesterday said that all was here."""
    office.at = AT - DAY / 24
    await office.take(TILL, *(captured(number, 0.5) for number in range(1, 5)))
    await office.heartbeat(TILL, lastSequence=9)
    office.at = AT + DAY / 4
    later, before = wire_time(DAY_SECONDS / 10), wire_time(-DAY_SECONDS / 2)
    today = [session(number, f"today-{number}", occurredAt=later) for number in (1, 2, 3)]
    salvaged = [session(one, f"session-{one + 1}", occurredAt=before) for one in range(4, 9)]
    await office.take(NEW, *today, *(salvaged if has_arrived else []))
    end: dict[str, object] = {"epoch": TILL.epoch, "lastSequence": 0, "baseSequence": 1}
    end |= {"endedReason": "damaged", "movedThrough": 9, "lostThrough": 9}
    end |= {"returned": [[5, 9]], "returnedThrough": 9}
    counts = {"pending": 0, "salvaged": 5, "unreadable": 0}
    await office.heartbeat(NEW, lastSequence=8, salvage=counts, epochs=[end])

    found = {epoch.epoch: epoch for epoch in await of_yesterday(office)}

    assert found[TILL.epoch].is_complete
    assert found[NEW.epoch].outstanding == ([] if has_arrived else [Range(4, 8)])
