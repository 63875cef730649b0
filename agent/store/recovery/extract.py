"""Reads a quarantined database to its end into a scratch file; selects its undelivered captures.

Runs in a process of its own (`python -m agent.store.recovery`): it reads every byte of a file that
may be large and damaged in any way, while the agent serves the tills.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from agent.store.files.high_water_mark import read_high_water_mark
from agent.store.recovery.btree import leaf_rows
from agent.store.recovery.recognise import Row, recognise
from agent.store.recovery.salvage_scratch import COMPLETE, Scratch, open_scratch
from agent.store.recovery.source import PageSource, Version

DATABASE_FILE = "agent.db"
VERSIONS_PER_STEP = 32
# Tables that change in place: only the newest version of a page counts.
_MUTABLE = frozenset({"destination", "delivery", "settled", "lost_captures"})
_POSITIONS = """
SELECT min(position), max(position) FROM (
    SELECT position FROM event UNION ALL SELECT position FROM session
    UNION ALL SELECT position FROM answer
)
"""
# A watermark is believed as far as an acknowledgement confirms it.
_WATERMARK = """
SELECT watermark, min(watermark, (SELECT coalesce(max(position), 0) FROM delivery)),
    min(watermark, erased_through)
FROM destination
"""
_BASE_POSITION = "SELECT base_position FROM epoch WHERE epoch = ?"
_OPEN_LETTERS = "SELECT position FROM dead_letter WHERE NOT discarded"
_ADD_SESSIONS = """
INSERT OR IGNORE INTO todo SELECT session_position FROM event
WHERE position IN (SELECT position FROM todo) AND session_position IN (SELECT position FROM event)
"""
_ERASE = "UPDATE answer SET address = NULL"


def extract(place: Path, mark_position: int, pause: Callable[[float], None] = time.sleep) -> None:
    """Read the database and WAL in `place` to the end; continue where an earlier process ended.

    `mark_position` is the last position that is known to have been committed; 0 if none is. Half
    of the time is spent in `pause`. Raises `OSError` or `sqlite3.Error`.
    """
    database = place / DATABASE_FILE
    with (
        open_scratch(place) as scratch,
        closing(PageSource(database, place / f"{DATABASE_FILE}-wal")) as source,
    ):
        tables = {leaf: name for name in ("delivery", "settled") for leaf in source.leaves_of(name)}
        first = scratch.progress().versions
        while first < source.versions:
            started = time.perf_counter()
            end = min(first + VERSIONS_PER_STEP, source.versions)
            versions = [source.version(index) for index in range(first, end)]
            scratch.put(
                [(row, one.rank) for one in versions for row in _rows(one, source, tables)], end
            )
            first = end
            pause(time.perf_counter() - started)
        if not scratch.progress().is_complete:
            _select(scratch, max(mark_position, _position_of_mark(scratch, place)))


def _rows(version: Version, source: PageSource, tables: dict[int, str]) -> Iterator[Row]:
    """Yield the rows of a version of a page."""
    # The rest of a long row may have another version in the WAL than in the file.
    cells = leaf_rows(version.number, version.content, source.page, source.page_in_file)
    for row_id, values in filter(None, cells):
        row = recognise(row_id, values, tables.get(version.number))
        if row is not None and (version.is_latest or row.table not in _MUTABLE):
            yield row


def _position_of_mark(scratch: Scratch, place: Path) -> int:
    """Return the position of the last commit by the high-water mark in `place`; 0 if unknown."""
    mark = read_high_water_mark(place)
    if mark is None:
        return 0
    found = scratch.connection.execute(_BASE_POSITION, (mark.epoch,)).fetchone()
    return 0 if found is None else int(found[0]) + mark.sequence


def _select(scratch: Scratch, mark_position: int) -> None:
    """Select the captures to salvage: undelivered ones, and the sessions of undelivered answers."""
    connection = scratch.connection
    lowest, last = connection.execute(_POSITIONS).fetchone()
    found = connection.execute(_WATERMARK).fetchone()
    watermark, believed, erased_through = (0, 0, 0) if found is None else found
    if lowest is None or watermark > max(last, mark_position):
        believed = erased_through = 0
    is_known = found is not None and watermark == believed
    lower = believed if is_known or lowest is None else max(believed, lowest - 1)
    last = max(last or 0, mark_position, lower)
    undelivered = f"""
        (position > {believed} AND position NOT IN (SELECT position FROM settled)
            OR position IN ({_OPEN_LETTERS}))
    """  # noqa: S608 - numbers
    unreadable = _count_unreadable(connection, lower, last)
    statements = (
        f"INSERT INTO todo SELECT position FROM event WHERE {undelivered} AND {COMPLETE}",  # noqa: S608 - no value
        _ADD_SESSIONS,
        f"{_ERASE} WHERE position <= {erased_through} AND position NOT IN ({_OPEN_LETTERS})",
    )
    is_whole = unreadable == 0 and last > 0 and lower == believed
    scratch.complete(statements, unreadable, is_whole=is_whole)


def _count_unreadable(connection: sqlite3.Connection, lower: int, last: int) -> int:
    """Return how many positions above `lower` up to `last`, and dead letters, are not readable.

    Positions have no gaps.
    """
    (gone,) = connection.execute(
        f"""
        SELECT :last - :lower
            - (SELECT count(*) FROM settled WHERE position > :lower AND position <= :last
                AND position NOT IN ({_OPEN_LETTERS}))
            - (SELECT count(*) FROM event WHERE position > :lower AND {COMPLETE}
                AND (position NOT IN (SELECT position FROM settled)
                    OR position IN ({_OPEN_LETTERS})))
            + (SELECT count(*) FROM dead_letter WHERE NOT discarded AND position <= :lower
                AND position NOT IN (SELECT position FROM event WHERE {COMPLETE}))
        """,  # noqa: S608 - no value
        {"lower": lower, "last": last},
    ).fetchone()
    return max(int(gone), 0)
