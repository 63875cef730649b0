"""Hourly rollups: each capture counts once, in its hour."""

from datetime import datetime, timedelta

from sync.receiver.db.tables import HourRecord
from tests.support.head_office.ledger import LedgerDriver
from tests.support.head_office.messages import AT, SimulatedAgent, answer, session, wire_time

HOUR = AT.replace(minute=0, second=0)
TILL = SimulatedAgent()
KINDS = ("sessions", "accepted", "deferred", "declined", "other_answers")
LAGS = ("arrived", "lag_seconds", "longest_lag_seconds")


def at(seconds: float) -> str:
    """Return a timestamp `seconds` after the start of the hour."""
    return wire_time((HOUR - AT).total_seconds() + seconds)


async def counted(office: LedgerDriver, *columns: str) -> list[tuple[object, ...]]:
    return await office.rows(HourRecord, "hour", *columns)


async def test_captures_are_counted_by_kind_in_the_hour_they_occurred(office: LedgerDriver) -> None:
    await office.take(
        TILL,
        session(1, "a", occurredAt=at(-7200)),
        answer(2, "a", occurredAt=at(-7199)),
        session(3, "b", occurredAt=at(-1)),
        answer(4, "b", None, "deferred", occurredAt=at(0)),
        answer(5, "b", None, "declined", occurredAt=at(1)),
        answer(6, "b", None, "later", occurredAt=at(2)),
    )

    assert await counted(office, *KINDS) == [
        (HOUR - timedelta(hours=2), 1, 1, 0, 0, 0),
        (HOUR - timedelta(hours=1), 1, 0, 0, 0, 0),
        (HOUR, 0, 0, 1, 1, 1),
    ]


async def test_lag_is_counted_in_the_hour_of_arrival(office: LedgerDriver) -> None:
    office.at = HOUR + timedelta(minutes=5)
    await office.take(TILL, session(1, occurredAt=at(-3600)), session(2, occurredAt=at(200)))
    office.at += timedelta(seconds=10)
    await office.take(TILL, session(3, occurredAt=at(309)))

    rows: dict[object, tuple[object, ...]] = {
        row[0]: row[1:] for row in await counted(office, *LAGS)
    }

    assert rows == {HOUR: (3, 3900 + 100 + 1, 3900), HOUR - timedelta(hours=1): (0, 0, 0)}


async def test_duplicate_is_not_counted_again(office: LedgerDriver) -> None:
    await office.take(TILL, session(1, "a"), answer(2, "a"))
    once = await office.all_rows(HourRecord)

    await office.take(TILL, session(1, "a"), answer(2, "a"))
    await office.take(
        SimulatedAgent(epoch="later"), session(1, "a", occurredAt=wire_time(1 - 1000))
    )

    assert await office.all_rows(HourRecord) == once


async def test_rejected_event_is_counted_when_it_is_accepted(office: LedgerDriver) -> None:
    await office.take(TILL, session(1, "a", occurredAt="noon"))
    none = await office.all_rows(HourRecord)

    await office.take(TILL, session(1, "a", occurredAt=at(0)))

    assert none == []
    assert await counted(office, "sessions") == [(HOUR, 1)]


async def test_capture_without_a_known_time_is_counted_in_its_hour_of_arrival(
    office: LedgerDriver,
) -> None:
    await office.take(TILL, session(1, occurredAt="1970-01-01T00:00:00Z"))

    assert await counted(office, "sessions", *LAGS) == [(HOUR, 1, 0, 0, 0)]


async def test_tills_and_stores_are_counted_separately(office: LedgerDriver) -> None:
    for sender in (TILL, SimulatedAgent(till_id="till-2"), SimulatedAgent("0043")):
        await office.take(sender, session(1, f"of {sender.till_id}", occurredAt=at(0)))

    rows = await office.rows(HourRecord, "store_id", "till_id", "sessions")

    assert rows == [("0042", "till-1", 1), ("0042", "till-2", 1), ("0043", "till-1", 1)]


async def test_rollups_equal_the_counts_of_all_events(office: LedgerDriver) -> None:
    """Over several days, in any order of arrival."""
    times: list[datetime] = []
    for day in (3, 1, 2):
        office.at = AT + timedelta(days=4)
        first = len(times) + 1
        events = [
            session(first + number, occurredAt=wire_time(86_400 * day + 1800 * number))
            for number in range(40)
        ]
        times += [AT + timedelta(days=day, minutes=30 * number) for number in range(40)]
        await office.take(SimulatedAgent(epoch=f"epoch-{day}"), *events, baseSequence=first)

    rows = await counted(office, "sessions", "arrived")

    assert sum(int(str(row[1])) for row in rows) == len(times)
    assert sum(int(str(row[2])) for row in rows) == len(times)
    assert {row[0] for row in rows if row[1]} == {
        one.replace(minute=0, second=0, microsecond=0) for one in times
    }
