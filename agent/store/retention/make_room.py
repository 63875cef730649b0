"""Purges delivered events ahead of their retention, so that captures are not rejected."""

import sqlite3

from agent.store.db.cursor import read_proven_cursor
from agent.store.db.rows import as_list
from agent.store.retention.purge import find_purgeable_through, purge

_ANY_TIME_US = 2**63 - 1
DELIVERED_AT = """
SELECT delivered_at_us FROM delivery
WHERE destination = 'central' AND through_position >= ? ORDER BY through_position LIMIT 1
"""
# A time that is still to come is one of a clock that was wrong.
NOT_RECENT = """
SELECT position FROM event
WHERE position IN (SELECT value FROM json_each(?))
    AND NOT (occurred_at_us > ? AND occurred_at_us <= ?)
ORDER BY position
"""
SET_PURGED_EARLY = """
UPDATE destination
SET purged_early_at_us = ?, purged_early_kept_us = ?, purged_early_reason = ?
WHERE name = 'central'
"""


def purge_oldest_delivered(
    connection: sqlite3.Connection, now_us: int, reason: str, spared_us: int
) -> int | None:
    """Purge the oldest `MAX_EVENTS` delivered events; record when and why.

    Spares those captured within the last `spared_us`. Returns for how long, in microseconds, the
    last of them had been kept since its delivery; None if no delivered event can be purged. As any
    purge, it keeps undelivered events, dead letters, and the sessions that they need.
    """
    watermark = read_proven_cursor(connection).watermark
    candidates = find_purgeable_through(connection, watermark, _ANY_TIME_US)
    values = (as_list(candidates.events), now_us - spared_us, now_us)
    events = [position for (position,) in connection.execute(NOT_RECENT, values)]
    candidates = candidates._replace(events=events)
    if not candidates.events:
        return None
    delivered = connection.execute(DELIVERED_AT, (candidates.events[-1],)).fetchone()
    # A clock that was wrong in between makes no negative age.
    kept_us = max(now_us - delivered[0], 0) if delivered else 0
    purge(connection, candidates, _ANY_TIME_US)
    connection.execute(SET_PURGED_EARLY, (now_us, kept_us, reason))
    return kept_us
