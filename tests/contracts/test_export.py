"""Row selection and order of an export."""

import itertools
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest

from sync.receiver.db.period import Period, parse_time
from sync.receiver.db.tables import SessionRecord
from sync.receiver.export.selection import ExportTable, Selection
from tests.support.head_office.ledger import LedgerDriver
from tests.support.head_office.messages import AT, SimulatedAgent, session, sessions

OTHER_EPOCH = "0b1f3f8e-5f0f-4b0c-8f53-8bfc0b1ad2a4"


# Page size: a page ends within the first epoch of the first till of the first store.
LARGE = 7


async def keys(office: LedgerDriver, selection: Selection) -> list[tuple[object, ...]]:
    names = selection.table.primary_key.columns.keys()
    return [
        tuple(row[name] for name in names)
        async for rows in selection.pages(office.database)
        for row in rows
    ]


def numbers(rows: Iterable[tuple[object, ...]]) -> list[object]:
    return [row[-1] for row in rows]


async def test_every_row_is_exported_once_in_key_order(office: LedgerDriver) -> None:
    """More than one page, several tills and epochs, received in another order."""
    names = itertools.product(("0043", "0042"), ("till-2", "till-1"), ("later", OTHER_EPOCH))
    for place, (store, till, epoch) in enumerate(names):
        count = 1500 if place == LARGE else 3
        events = [session(n, f"{place}-{n}") for n in range(1, count + 1)]
        await office.take(SimulatedAgent(store, till, epoch), *events)

    found = await keys(office, Selection())

    key = ("store_id", "till_id", "epoch", "sequence")
    assert found == await office.rows(SessionRecord, *key)
    assert len(found) == 1500 + 7 * 3


async def test_export_of_one_store_contains_only_that_store(office: LedgerDriver) -> None:
    for store in ("0042", "0043"):
        await office.take(SimulatedAgent(store), *sessions(1, 2))

    found = await keys(office, Selection(store_id="0043"))

    assert [row[0] for row in found] == ["0043", "0043"]


@pytest.mark.parametrize(
    ("since", "until", "expected"),
    [
        (None, None, [1, 2, 3]),
        (1, None, [2, 3]),
        (None, 1, [1]),
        (1, 2, [2]),
        (2, 1, []),
    ],
)
async def test_time_range_includes_its_start_and_excludes_its_end(
    office: LedgerDriver, since: int | None, until: int | None, expected: list[int]
) -> None:
    for hour in range(3):
        office.at = AT + timedelta(hours=hour)
        await office.take(SimulatedAgent(), session(hour + 1))

    ends = [None if hour is None else AT + timedelta(hours=hour) for hour in (since, until)]
    found = await keys(office, Selection(received=Period(ends[0], ends[1])))

    assert numbers(found) == expected


@pytest.mark.parametrize("exported", list(ExportTable))
async def test_every_table_can_be_filtered_by_time(
    office: LedgerDriver, exported: ExportTable
) -> None:
    await office.take(
        SimulatedAgent(),
        session(3, "one"),
        session(4, "two", type="points.spent"),
        session(5, "one", occurredAt="2026-03-04T04:49:30Z"),
        baseSequence=3,
    )

    within = await keys(office, Selection(exported, received=Period(AT, AT + timedelta(hours=1))))
    after = await keys(office, Selection(exported, received=Period(AT + timedelta(hours=1))))

    assert (bool(within), after) == (exported is not ExportTable.EMAIL_ANSWERS, [])


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-03-01", datetime(2026, 3, 1, tzinfo=UTC)),
        ("2026-03-01T08:00Z", datetime(2026, 3, 1, 8, tzinfo=UTC)),
        ("2026-03-01T08:00:30+02:00", datetime(2026, 3, 1, 6, 0, 30, tzinfo=UTC)),
    ],
)
def test_time_is_a_day_or_a_timestamp(text: str, moment: datetime) -> None:
    assert parse_time(text) == moment


@pytest.mark.parametrize("text", ["", "yesterday", "2026-03-01T08:00", "2026-13-01"])
def test_ambiguous_time_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="expected a day"):
        parse_time(text)


async def test_digests_of_ingest_are_not_exported(office: LedgerDriver) -> None:
    columns = [column.name for column in Selection(ExportTable.EMAIL_ANSWERS).columns]

    assert "digest" not in columns
    assert {"correlation_id", "email_address", "body"} <= set(columns)
