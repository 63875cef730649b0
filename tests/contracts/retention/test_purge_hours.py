"""Retention of the hourly rollups."""

from datetime import timedelta

from sync.receiver.db.tables import HourRecord, SessionRecord
from sync.receiver.retention.purge import purge_hours
from tests.support.head_office.ledger import LedgerDriver
from tests.support.head_office.messages import AT, SimulatedAgent, session, wire_time

HOUR = AT.replace(minute=0, second=0)


async def test_hours_before_the_cutoff_are_deleted_for_every_store(office: LedgerDriver) -> None:
    begins = (HOUR - AT).total_seconds()
    for sender in (SimulatedAgent(), SimulatedAgent(till_id="till-2"), SimulatedAgent("0043")):
        events = [
            session(number, f"{number} of {sender.till_id}", occurredAt=wire_time(begins + seconds))
            for number, seconds in enumerate((-7200, -1, 0), 1)
        ]
        await office.take(sender, *events)

    await purge_hours(office.database, HOUR)

    assert await office.rows(HourRecord, "store_id", "till_id", "hour", "sessions") == [
        ("0042", "till-1", HOUR, 1),
        ("0042", "till-2", HOUR, 1),
        ("0043", "till-1", HOUR, 1),
    ]
    assert len(await office.all_rows(SessionRecord)) == 9


async def test_event_later_than_its_retention_starts_its_hour_again(office: LedgerDriver) -> None:
    """After a long time offline; the next purge deletes it."""
    await office.take(SimulatedAgent(), session(1, occurredAt=wire_time(-86_400)))
    await purge_hours(office.database, HOUR)

    await office.take(SimulatedAgent(), session(2, occurredAt=wire_time(-86_400)))

    days_ago = HOUR - timedelta(days=1)
    assert (days_ago, 1) in await office.rows(HourRecord, "hour", "sessions")


async def test_purge_of_an_empty_table_does_nothing(office: LedgerDriver) -> None:
    await purge_hours(office.database, HOUR)

    assert await office.all_rows(HourRecord) == []
