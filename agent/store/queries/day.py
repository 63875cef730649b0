"""The last 24 hours by the hour: captures recorded, delivered, and waiting at its end.

Bounded: reads at most `MAX_ROWS` of the newest rows of each table, along its key. `event` has no
index on the time, which the tills would pay for with each capture.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from agent.store.db.cursor import COUNT_WAITING, LETTER_IS_SETTLED, DeliveryCursor, read_cursor
from agent.store.db.epochs import read_epochs
from agent.store.db.rows import intact_rows

HOURS = 24
MAX_ROWS = 20_000
HOUR_US = 3600 * 1_000_000
_CAPTURED = """
SELECT (occurred_at_us - :start) / :hour, count(*) FROM event
WHERE position > :floor AND position <= :last
    AND occurred_at_us >= :start AND occurred_at_us < :start + 24 * :hour
GROUP BY 1
"""
_OLDEST_COUNTED = """
SELECT occurred_at_us FROM event WHERE position > :floor AND position <= :last
ORDER BY position LIMIT 1
"""
# A row stands for all events since the row before it; hour -1 is before the day.
_SETTLED_THROUGH = """
SELECT max((delivered_at_us - :start) / :hour, -1) AS of_hour, max(through_position),
    min(through_position), count(*)
FROM (SELECT through_position, delivered_at_us FROM delivery
    WHERE destination = 'central' ORDER BY through_position DESC LIMIT :rows)
WHERE delivered_at_us < :start + 24 * :hour AND typeof(delivered_at_us) = 'integer'
GROUP BY of_hour ORDER BY of_hour
"""


def _by_hour_of(time: str, rows: str) -> str:
    """Return the query that counts the `rows` of the day by the hour of their `time`."""
    return f"""
SELECT ({time} - :start) / :hour, count(*) FROM (SELECT {time} FROM {rows} LIMIT :rows)
WHERE {time} >= :start AND {time} < :start + 24 * :hour GROUP BY 1
"""  # noqa: S608 - contains no value


_SETTLED_AHEAD = _by_hour_of(
    "delivered_at_us",
    "settled WHERE destination = 'central' AND position > :watermark ORDER BY position",
)
_REFUSED = _by_hour_of(
    "refused_at_us",
    "dead_letter WHERE destination = 'central' AND stuck_since_us IS NULL ORDER BY position DESC",
)
# Settled, so that the watermark passes them, and not delivered.
_DEFERRED = _by_hour_of(
    "stuck_since_us",
    "dead_letter WHERE destination = 'central' AND stuck_since_us IS NOT NULL"
    f" AND {LETTER_IS_SETTLED} ORDER BY position DESC",
)


class _Through(NamedTuple):
    """Acknowledgements of an hour: the last and the first position, and how many they are."""

    hour: int
    through: int
    first: int
    rows: int


@dataclass(frozen=True, slots=True)
class Day:
    """24 hours, the present one last: when each begins, and its counts.

    `waiting`: at the end of each hour. `is_partial`: more than `MAX_ROWS` captures were recorded,
    of which only the newest are counted.
    """

    starts_us: list[int]
    captured: list[int]
    delivered: list[int]
    waiting: list[int]
    is_partial: bool


def read_day(connection: sqlite3.Connection, now_us: int) -> Day:
    """Return the last 24 hours."""
    start = now_us // HOUR_US * HOUR_US - (HOURS - 1) * HOUR_US
    cursor, last = read_cursor(connection), read_epochs(connection).last_position
    values = {
        "start": start,
        "hour": HOUR_US,
        "last": last,
        "floor": max(last - MAX_ROWS, 0),
        "purged": cursor.purged_through,
        "watermark": cursor.watermark,
        "rows": MAX_ROWS,
    }
    captured = _by_hour(connection.execute(_CAPTURED, values))
    ahead = _by_hour(connection.execute(_SETTLED_AHEAD, values))
    through = _settled(connection.execute(_SETTLED_THROUGH, values), cursor)
    deferred = _by_hour(connection.execute(_DEFERRED, values))
    settled = [
        max(some + others - few, 0)
        for some, others, few in zip(through, ahead, deferred, strict=True)
    ]
    refused = _by_hour(connection.execute(_REFUSED, values))
    (waiting,) = connection.execute(f"SELECT {COUNT_WAITING}", values).fetchone()
    (oldest,) = connection.execute(_OLDEST_COUNTED, values).fetchone() or (None,)
    return Day(
        starts_us=[start + hour * HOUR_US for hour in range(HOURS)],
        captured=captured,
        delivered=[max(all_of - few, 0) for all_of, few in zip(settled, refused, strict=True)],
        waiting=_waiting(captured, settled, waiting),
        is_partial=values["floor"] > 0 and isinstance(oldest, int) and oldest >= start,
    )


def _waiting(captured: list[int], settled: list[int], now: int) -> list[int]:
    """Return how many waited at the end of each hour, counted back from now."""
    waiting = [now]
    for more, fewer in zip(reversed(captured[1:]), reversed(settled[1:]), strict=True):
        waiting.append(max(waiting[-1] - more + fewer, 0))
    return waiting[::-1]


def _settled(rows: Iterable[Sequence[object]], cursor: DeliveryCursor) -> list[int]:
    """Return how many events each hour settled, from the highest position that each reached."""
    known = list(intact_rows(rows, _Through))
    is_cut = sum(row.rows for row in known) >= MAX_ROWS
    reached = min((row.first for row in known), default=0) if is_cut else cursor.purged_through
    counts = [0] * HOURS
    for row in known:
        if 0 <= row.hour < HOURS:
            counts[row.hour] = max(row.through - reached, 0)
        reached = max(row.through, reached)
    return counts


def _by_hour(rows: Iterable[tuple[object, object]]) -> list[int]:
    """Return the counts of all hours; a damaged value counts for none."""
    counts = [0] * HOURS
    for hour, count in rows:
        if isinstance(hour, int) and isinstance(count, int) and 0 <= hour < HOURS:
            counts[hour] += max(count, 0)
    return counts
