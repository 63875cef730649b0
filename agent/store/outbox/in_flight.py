"""Records events in flight: after a crash they are known to be possibly delivered."""

import sqlite3
from collections.abc import Iterable, Sequence

from agent.store.db.cursor import ensure_cursor
from agent.store.db.rows import as_list

ADD_DOUBT = """
INSERT INTO doubt (destination, position)
SELECT 'central', position FROM event WHERE position IN (SELECT value FROM json_each(?))
ON CONFLICT DO NOTHING
"""
KEEP_DOUBT = """
INSERT INTO doubt (destination, position)
SELECT 'central', position FROM event
WHERE position > :watermark AND position BETWEEN :attempting_from AND :attempting_through
    AND NOT EXISTS (
        SELECT 1 FROM settled WHERE destination = 'central' AND settled.position = event.position
    )
ON CONFLICT DO NOTHING
"""
REMOVE_DOUBT = """
DELETE FROM doubt
WHERE destination = 'central' AND position IN (SELECT value FROM json_each(?))
"""
DEAD_LETTERS_AMONG = """
SELECT position FROM dead_letter
WHERE destination = 'central' AND position IN (SELECT value FROM json_each(?))
"""
SET_RANGE = """
UPDATE destination SET attempting_from = ?, attempting_through = ? WHERE name = 'central'
"""


def record_attempt(connection: sqlite3.Connection, positions: Sequence[int]) -> None:
    """Record that the events at `positions`, ascending, are in flight.

    For pending events a range of two numbers is enough. Dead letters being retried lie between
    others that are not, and are recorded one by one.
    """
    cursor = ensure_cursor(connection)
    if cursor.attempting_through:
        # No result of the attempt before arrived: its events are possibly delivered.
        connection.execute(KEEP_DOUBT, cursor._asdict())
    rows = connection.execute(DEAD_LETTERS_AMONG, (as_list(positions),))
    retried = {position for (position,) in rows}
    add_doubt(connection, retried)
    pending = [position for position in positions if position not in retried]
    connection.execute(SET_RANGE, (pending[0], pending[-1]) if pending else (0, 0))


def end_attempt(
    connection: sqlite3.Connection, resolved: Iterable[int], doubtful: Iterable[int]
) -> None:
    """Mark `doubtful` events as possibly delivered; clear the mark of those in `resolved`.

    An event that was doubtful before the attempt and was not sent is in neither, and keeps its
    mark.
    """
    connection.execute(REMOVE_DOUBT, (as_list(resolved),))
    add_doubt(connection, doubtful)
    if ensure_cursor(connection).attempting_through:
        connection.execute(SET_RANGE, (0, 0))


def add_doubt(connection: sqlite3.Connection, positions: Iterable[int]) -> None:
    """Mark the events at `positions` as possibly delivered."""
    connection.execute(ADD_DOUBT, (as_list(positions),))
