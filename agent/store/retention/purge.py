"""Deletes events past their retention, a few rows at a time, so that no till has to wait.

Candidates are found on a read-only connection; the writer then deletes those that still qualify.
SQLite reuses the freed pages for new captures: the file does not shrink, and after the first weeks
does not grow.
"""

import sqlite3
from typing import NamedTuple

from agent.store.db.cursor import read_proven_cursor
from agent.store.db.rows import as_list
from agent.store.retention.delivery_times import delivered_before
from agent.store.retention.purge_answers import (
    Examined,
    empty_answers,
    find_removable_answers,
    remove_answers,
)

# Each event is two rows: the event, and its session or answer.
MAX_EVENTS = 100
# A session that has answers, a dead letter, an answer that overtook a dead letter (which must see
# that on its retry), or an event that was delivered late.
_IS_NEEDED = """(
    EXISTS (SELECT 1 FROM email_answer WHERE email_answer.session_position = event.position)
    OR EXISTS (
        SELECT 1 FROM dead_letter
        WHERE destination = 'central' AND dead_letter.position = event.position
            AND (discarded_at_us IS NULL OR discarded_at_us > :cutoff_us)
    )
    OR EXISTS (
        SELECT 1 FROM dead_letter JOIN email_answer AS dead_answer USING (position)
        WHERE destination = 'central' AND discarded_at_us IS NULL
            AND dead_answer.session_position = event.session_position
            AND dead_answer.position < event.position
    )
    OR EXISTS (
        SELECT 1 FROM settled
        WHERE destination = 'central' AND settled.position = event.position
            AND delivered_at_us > :cutoff_us
    )
)"""
PURGEABLE_EVENTS = f"""
SELECT position FROM event WHERE position > 0 AND position <= :bound AND NOT {_IS_NEEDED}
ORDER BY position LIMIT :limit
"""  # noqa: S608 - contains no value
PURGEABLE_DELIVERIES = """
SELECT through_position FROM delivery
WHERE destination = 'central' AND through_position <= :bound AND NOT EXISTS (
    SELECT 1 FROM event
    WHERE event.position <= delivery.through_position AND event.position > coalesce((
        SELECT max(earlier.through_position) FROM delivery AS earlier
        WHERE earlier.destination = 'central'
            AND earlier.through_position < delivery.through_position
    ), 0)
)
ORDER BY through_position LIMIT :limit
"""
REMOVE_EVENTS = f"""
DELETE FROM event
WHERE position IN (SELECT value FROM json_each(:positions)) AND position <= :watermark
    AND NOT {_IS_NEEDED}
RETURNING position
"""  # noqa: S608 - contains no value
REMOVE_BESIDE_EVENTS = tuple(
    f"DELETE FROM {rows} position IN (SELECT value FROM json_each(?))"  # noqa: S608 - no value
    for rows in (
        "session WHERE",
        "receipt_alias WHERE",
        "dead_letter WHERE destination = 'central' AND",
        "settled WHERE destination = 'central' AND",
        "doubt WHERE destination = 'central' AND",
    )
)
REMOVE_DELIVERIES = """
DELETE FROM delivery
WHERE destination = 'central' AND through_position IN (SELECT value FROM json_each(?))
"""
SET_PURGED = "UPDATE destination SET purged_through = ? WHERE name = 'central'"


class Candidates(NamedTuple):
    """Candidates: positions of events, of acknowledgements that cover no event, of empty answers.

    An answer is emptied with its event, and its row deleted later: see `purge_answers.py`.
    """

    events: list[int]
    deliveries: list[int]
    answers: Examined = Examined([])


def find_purgeable(
    connection: sqlite3.Connection, cutoff_us: int, examined_through: int
) -> Candidates:
    """Return some events delivered before `cutoff_us`, lowest first. Read-only.

    A session stays as long as an answer to it; a dead letter until it was discarded or delivered
    before `cutoff_us`, and with it the later answers of its session.
    """
    cursor = read_proven_cursor(connection)
    bound = delivered_before(connection, cursor, cutoff_us, above=cursor.purged_through)
    candidates = find_purgeable_through(connection, bound, cutoff_us)
    return candidates._replace(
        answers=find_removable_answers(connection, MAX_EVENTS, examined_through)
    )


def find_purgeable_through(
    connection: sqlite3.Connection, bound: int, cutoff_us: int
) -> Candidates:
    """Return some events up to position `bound`, lowest first, and no empty answers. Read-only."""
    values = {"bound": bound, "cutoff_us": cutoff_us, "limit": MAX_EVENTS}
    queries = (PURGEABLE_EVENTS, PURGEABLE_DELIVERIES)
    events, deliveries = ([at for (at,) in connection.execute(sql, values)] for sql in queries)
    return Candidates(events, deliveries)


def purge(connection: sqlite3.Connection, candidates: Candidates, cutoff_us: int) -> bool:
    """Delete those of `candidates` that still qualify; return whether there were any."""
    cursor = read_proven_cursor(connection)
    values = {"positions": as_list(candidates.events), "cutoff_us": cutoff_us}
    rows = connection.execute(REMOVE_EVENTS, values | {"watermark": cursor.watermark})
    purged = [position for (position,) in rows]
    empty_answers(connection, purged)
    for sql in REMOVE_BESIDE_EVENTS:
        connection.execute(sql, (as_list(purged),))
    connection.execute(REMOVE_DELIVERIES, (as_list(candidates.deliveries),))
    connection.execute(SET_PURGED, (max([*purged, cursor.purged_through]),))
    has_removed = remove_answers(connection, candidates.answers.removable)
    return bool(purged or candidates.deliveries or has_removed)
