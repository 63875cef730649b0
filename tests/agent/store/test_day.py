"""The last 24 hours by the hour, from what the store tells in bounded time."""

from pathlib import Path

import pytest

from agent.store.queries import day as query_of_day
from agent.store.queries.day import HOUR_US, HOURS, Day
from agent.store.queries.reader import StoreReader
from tests.support.agent.store import change, opened, record, session

NOW_US = 500_000 * HOUR_US + HOUR_US // 2
DELIVERY = "INSERT INTO delivery VALUES ('central', {}, {})"
LETTER = (
    "INSERT INTO dead_letter (destination, position, error_code, error_message, refused_at_us,"
    " attempts, agent_version, retry_wanted) VALUES ('central', {}, 'X', '', {}, 1, '1', 0)"
)

MISPLACED = """
INSERT INTO event SELECT -7, type, session_position, occurred_at_us, monotonic_us, boot_number,
    body, checksum FROM event
"""


def hours_ago(hours: int) -> int:
    return NOW_US - hours * HOUR_US


def day_of(directory: Path, hours_since_capture: list[int], *changes: str) -> Day:
    """Return the day of a store with captures so many hours old, after these changes."""
    with opened(directory) as store:
        record(store, *(session(str(name)) for name in range(len(hours_since_capture))))
    times = [
        f"UPDATE event SET occurred_at_us = {hours_ago(hours)} WHERE position = {position}"  # noqa: S608 - the test's own values
        for position, hours in enumerate(hours_since_capture, 1)
    ]
    change(directory, *times, *changes)
    return StoreReader(directory).day(NOW_US)


def watermark(position: int) -> str:
    return f"INSERT OR REPLACE INTO destination (name, watermark) VALUES ('central', {position})"  # noqa: S608 - the test's own values


def test_captures_deliveries_and_what_waited_are_counted_by_the_hour(tmp_path: Path) -> None:
    day = day_of(
        tmp_path,
        [30, 3, 3, 1, 0],
        watermark(4),
        DELIVERY.format(2, hours_ago(2)),
        DELIVERY.format(4, hours_ago(0)),
    )

    assert len(day.captured) == len(day.delivered) == len(day.waiting) == HOURS
    assert (day.captured[-4:], sum(day.captured)) == ([2, 0, 1, 1], 4)
    assert (day.delivered[-4:], sum(day.delivered)) == ([0, 2, 0, 2], 4)
    assert day.waiting[-5:] == [1, 3, 1, 2, 1]
    assert day.starts_us[-1] == NOW_US - HOUR_US // 2
    assert not day.is_partial


def test_rejected_captures_count_neither_as_delivered_nor_as_waiting(tmp_path: Path) -> None:
    day = day_of(
        tmp_path,
        [1, 1],
        watermark(2),
        DELIVERY.format(2, hours_ago(0)),
        LETTER.format(1, hours_ago(0)),
    )

    assert day.delivered[-1] == 1
    assert day.waiting[-2:] == [2, 0]


def test_deferred_captures_wait_and_do_not_count_as_delivered(tmp_path: Path) -> None:
    day = day_of(
        tmp_path,
        [3, 1],
        watermark(2),
        DELIVERY.format(2, hours_ago(0)),
        LETTER.format(1, hours_ago(0)),
        f"UPDATE dead_letter SET stuck_since_us = {hours_ago(0)}",  # noqa: S608 - the test's own values
    )

    assert day.delivered[-1] == 1
    assert day.waiting[-4:] == [1, 1, 2, 1]


def test_captures_delivered_ahead_of_others_do_not_wait(tmp_path: Path) -> None:
    ahead = f"INSERT INTO settled VALUES ('central', 2, {hours_ago(0)})"  # noqa: S608 - the test's own values
    day = day_of(tmp_path, [1, 1], watermark(0), ahead)

    assert (day.delivered[-1], day.waiting[-1]) == (1, 1)


def test_more_captures_than_are_counted_are_said_to_be_partial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query_of_day, "MAX_ROWS", 2)
    day = day_of(tmp_path, [2, 1, 0])

    assert (sum(day.captured), day.is_partial) == (2, True)


def test_salvaged_captures_of_last_week_and_a_clock_in_1970_are_no_part_of_the_day(
    tmp_path: Path,
) -> None:
    day = day_of(tmp_path, [1, 200, 499_000, -50])

    assert sum(day.captured) == 1


def test_the_newest_captures_come_first_without_an_address(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        record(store, *(session(str(name)) for name in range(5)))

    newest = StoreReader(tmp_path).newest(3)

    assert [one.receipt.sequence for one in newest] == [5, 4, 3]
    assert {one.state for one in newest} == {"waiting"}


def test_newest_captures_are_shown_beside_a_row_of_an_impossible_position(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        record(store, session("a"))
        store.run(lambda connection: connection.execute(MISPLACED).close())

        newest = StoreReader(tmp_path).newest(3)

    assert [one.receipt.sequence for one in newest] == [1]


def test_deliveries_are_counted_where_the_acknowledgements_before_them_are_purged(
    tmp_path: Path,
) -> None:
    purged = "UPDATE destination SET purged_through = 2"
    day = day_of(tmp_path, [9, 9, 9, 9], watermark(4), purged, DELIVERY.format(4, hours_ago(0)))

    assert day.delivered[-1] == 2
