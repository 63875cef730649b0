"""Data of the charts: the last two days by hour, without holes."""

from datetime import timedelta

from sync.receiver.reports.history import HOURS_SHOWN, HourTotals, columns, read_history
from tests.support.head_office.ledger import LedgerDriver
from tests.support.head_office.messages import AT, SimulatedAgent, answer, session, wire_time

HOUR = AT.replace(minute=0, second=0)


async def read(office: LedgerDriver, store_id: str | None = None) -> list[HourTotals]:
    return await office.database.read(
        lambda connection: read_history(connection, office.at, store_id)
    )


async def test_hours_without_captures_are_included(office: LedgerDriver) -> None:
    found = await read(office)

    assert [one.hour for one in found] == [
        HOUR - timedelta(hours=ago) for ago in reversed(range(HOURS_SHOWN))
    ]
    assert {(one.sessions, one.mean_lag_seconds) for one in found} == {(0, None)}


async def test_tills_are_summed_for_the_chain_and_per_store(office: LedgerDriver) -> None:
    for sender in (SimulatedAgent(), SimulatedAgent(till_id="till-2"), SimulatedAgent("0043")):
        name = f"of {sender.till_id}"
        await office.take(
            sender,
            session(1, name, occurredAt=wire_time(-4)),
            answer(2, name, None, "declined", occurredAt=wire_time(-2)),
        )

    of_all, of_one = (await read(office))[-1], (await read(office, "0043"))[-1]

    assert (of_all.sessions, of_all.declined, of_one.sessions, of_one.declined) == (3, 3, 1, 1)
    assert (of_all.mean_lag_seconds, of_all.longest_lag_seconds) == (3.0, 4)


async def test_hours_older_than_two_days_are_omitted(office: LedgerDriver) -> None:
    first = (HOUR - AT).total_seconds() - 3600 * (HOURS_SHOWN - 1)
    await office.take(
        SimulatedAgent(),
        session(1, occurredAt=wire_time(first - 1)),
        session(2, occurredAt=wire_time(first)),
    )

    found = await read(office)

    assert found[0].sessions == 1
    assert sum(one.sessions for one in found) == 1


async def test_chart_data_has_one_list_per_quantity(office: LedgerDriver) -> None:
    await office.take(SimulatedAgent(), session(1, occurredAt=wire_time(-4)))

    lists = columns(await read(office))

    assert {len(column) for column in lists.values()} == {HOURS_SHOWN}
    assert lists["hour"][-1] == HOUR.timestamp()
    assert (lists["sessions"][-1], lists["longest_lag_seconds"][-1]) == (1, 4)
