"""Records delivery results: moves the watermark instead of writing a row for each event.

A rejected event becomes a dead letter; an event accepted after all ceases to be one. A deferred
event is settled, too, so that the watermark passes it; it has a row in `dead_letter` to be tried
again by, and is counted, shown and kept as one that waits.
"""

import heapq
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing

from agent.store.db.cursor import ensure_cursor
from agent.store.db.rows import as_list
from sync.delivery.outcomes import Deferred, Refused, Verdict

_SECOND_US = 1_000_000
# Of a dead letter that waits behind another one: it is looked at again, but not in each pass.
_WAITING_SECONDS = 60
# So many deferred events are tried as often as each needs. With more, one of these is tried every
# 20 s: each waits a random share of 40 s times their number. So many hardly fail each by itself,
# and the first one that passes makes all the others due.
_FEW_DEFERRED, _SPACING_SECONDS = 5, 40
_SHARES = 1_024
_LONG_US = 60 * _SECOND_US
MAX_SPACING_SECONDS = 6 * 3_600

SET_WATERMARK = "UPDATE destination SET watermark = ? WHERE name = 'central'"
AHEAD = """
SELECT position FROM settled
WHERE destination = 'central' AND position > ? AND typeof(position) = 'integer'
ORDER BY position
"""
ADD_SETTLED = """
INSERT OR REPLACE INTO settled (destination, position, delivered_at_us) VALUES ('central', ?, ?)
"""
REMOVE_SETTLED = """
DELETE FROM settled WHERE destination = 'central' AND position > ? AND position <= ?
"""
DELIVERED_THROUGH = """
SELECT delivered_at_us FROM delivery WHERE destination = 'central' AND through_position = ?
"""
ADD_DELIVERY = """
INSERT OR REPLACE INTO delivery (destination, through_position, delivered_at_us)
VALUES ('central', ?, ?)
"""
EXTEND_DELIVERY = """
UPDATE OR REPLACE delivery SET through_position = :through
WHERE destination = 'central' AND through_position = :before
"""
ADD_DEAD_LETTER = """
INSERT INTO dead_letter (destination, position, error_code, error_message, http_status,
    refused_at_us, agent_version, attempts, retry_wanted)
VALUES ('central', ?, ?, ?, ?, ?, ?, 1, 0)
ON CONFLICT (destination, position) DO UPDATE SET
    error_code = excluded.error_code, error_message = excluded.error_message,
    http_status = excluded.http_status, refused_at_us = excluded.refused_at_us,
    agent_version = excluded.agent_version, attempts = attempts + 1, retry_wanted = 0,
    stuck_since_us = NULL, next_try_at_us = 0
"""
# After 2, 4, 8 seconds, up to an hour; up to five minutes while no other event passes. At least
# `spacing_us` later, as many may be deferred. A dead letter that is retried keeps its reason: a
# later "already" of head office is judged by it. The time that counts until an event is set aside
# is `refused_at_us - stuck_since_us`: from try to try while others pass, each gap as half a day at
# most, as the clock may have been set.
ADD_DEFERRED = """
INSERT INTO dead_letter (destination, position, error_code, error_message, http_status,
    refused_at_us, agent_version, attempts, retry_wanted, stuck_since_us, next_try_at_us)
VALUES ('central', :position, :code, :message, :status, :at_us, :version, :tries, :tries, :at_us,
    :at_us + max(:wait_us, :tries * max(2000000, :spacing_us)))
ON CONFLICT (destination, position) DO UPDATE SET
    error_code = iif(stuck_since_us IS NULL, error_code, excluded.error_code),
    error_message = iif(stuck_since_us IS NULL, error_message, excluded.error_message),
    http_status = iif(stuck_since_us IS NULL, http_status, excluded.http_status),
    refused_at_us = iif(stuck_since_us IS NULL OR NOT :others_passed, refused_at_us, :at_us),
    attempts = attempts + excluded.attempts,
    retry_wanted = iif(stuck_since_us IS NULL, retry_wanted, excluded.retry_wanted),
    stuck_since_us = iif(:others_passed, CAST(:at_us - max(refused_at_us - stuck_since_us, 0)
        - min(max(:at_us - refused_at_us, 0), 43200000000) * :tries AS INTEGER), stuck_since_us),
    next_try_at_us = :at_us + max(
        :wait_us,
        :tries * :spacing_us,
        :tries * min(iif(:others_passed, 3600000000, 300000000), 2000000 << min(attempts, 12))
    )
"""
# Later ones of a session, once an earlier one has a verdict.
RELEASE_WAITING = """
UPDATE dead_letter SET retry_wanted = 1, next_try_at_us = 0
WHERE destination = 'central' AND retry_wanted = 0 AND stuck_since_us IS NOT NULL
    AND discarded_at_us IS NULL AND position IN (
        SELECT later.position FROM event JOIN email_answer AS later
            ON later.session_position = event.session_position AND later.position > event.position
        WHERE event.position IN (SELECT value FROM json_each(?))
    )
"""
REMOVE_DEAD_LETTERS = """
DELETE FROM dead_letter
WHERE destination = 'central' AND position IN (SELECT value FROM json_each(?))
RETURNING position, stuck_since_us
"""
COUNT_DEFERRED = """
SELECT count(*) FROM dead_letter WHERE destination = 'central' AND stuck_since_us IS NOT NULL
"""
# A trouble of a minute or longer is over, and so perhaps that of the others.
RELEASE_DEFERRED = """
UPDATE dead_letter SET next_try_at_us = 0
WHERE destination = 'central' AND stuck_since_us IS NOT NULL AND discarded_at_us IS NULL
    AND retry_wanted = 1 AND next_try_at_us > 0
"""
RETRY_ANSWERS = """
UPDATE dead_letter SET retry_wanted = 1, next_try_at_us = 0
WHERE destination = 'central' AND discarded_at_us IS NULL AND position IN (
    SELECT position FROM email_answer
    WHERE session_position IN (SELECT value FROM json_each(?))
)
"""


def settle(
    connection: sqlite3.Connection, verdicts: Mapping[int, Verdict], at_us: int, agent_version: str
) -> None:
    """Record the verdicts by position, at most some hundreds, on events sent by `agent_version`.

    If a dead letter is delivered late, the rejected answers of its session are marked for retry,
    and it gets its own delivery time.
    """
    before = ensure_cursor(connection).watermark
    refused = {
        position: verdict for position, verdict in verdicts.items() if isinstance(verdict, Refused)
    }
    deferred = {
        position: verdict for position, verdict in verdicts.items() if isinstance(verdict, Deferred)
    }
    add_dead_letters(connection, refused, at_us, agent_version)
    _add_deferred(connection, deferred, at_us, agent_version)
    delivered = as_list(sorted(verdicts.keys() - refused.keys() - deferred.keys()))
    removed = connection.execute(REMOVE_DEAD_LETTERS, (delivered,)).fetchall()
    late = {position for position, _ in removed}
    if late:
        retry_answers(connection, late)
    if any(isinstance(since, int) and since <= at_us - _LONG_US for _, since in removed):
        connection.execute(RELEASE_DEFERRED)
    if late or refused:
        release_waiting(connection, late | refused.keys())
    watermark = _advance_watermark(connection, before, verdicts, at_us)
    individually = late.union(position for position in verdicts if position > watermark)
    rows = [(position, at_us) for position in sorted(individually)]
    connection.executemany(ADD_SETTLED, rows)


def add_dead_letters(
    connection: sqlite3.Connection, refused: Mapping[int, Refused], at_us: int, agent_version: str
) -> None:
    """Store the reason of each rejection by position; a repeated one adds an attempt."""
    rows = [
        (position, why.error_code, why.error_message, why.http_status, at_us, agent_version)
        for position, why in refused.items()
    ]
    connection.executemany(ADD_DEAD_LETTER, rows)


def _add_deferred(
    connection: sqlite3.Connection, deferred: Mapping[int, Deferred], at_us: int, agent_version: str
) -> None:
    if not deferred:
        return
    ((count,),) = connection.execute(COUNT_DEFERRED)
    spacing_seconds = min((count - _FEW_DEFERRED) * _SPACING_SECONDS, MAX_SPACING_SECONDS)
    rows = [
        {
            "position": position,
            "code": why.error_code,
            "message": why.error_message,
            "status": why.http_status,
            "at_us": at_us,
            "version": agent_version,
            "tries": int(not why.is_waiting),
            "others_passed": why.others_passed,
            "wait_us": int(wait_seconds * _SECOND_US),
            "spacing_us": max(spacing_seconds, 0) * _SECOND_US * _share(position, at_us) // _SHARES,
        }
        for position, why in deferred.items()
        for wait_seconds in [_WAITING_SECONDS if why.is_waiting else why.retry_after_seconds or 0]
    ]
    connection.executemany(ADD_DEFERRED, rows)


def _share(position: int, at_us: int) -> int:
    """Return a share of the spacing: those deferred together are not due together.

    Another one at each try: an event with a small one for ever would be tried most of all.
    """
    return 1 + hash((position, at_us)) % _SHARES


def release_waiting(connection: sqlite3.Connection, earlier: Iterable[int]) -> None:
    """Try the deferred events again that waited for one of `earlier`, which has a verdict now."""
    connection.execute(RELEASE_WAITING, (as_list(sorted(earlier)),))


def retry_answers(connection: sqlite3.Connection, sessions: Iterable[int]) -> None:
    """Mark the rejected answers of `sessions` for retry, for any rejection reason.

    A loyalty API has error codes of its own for an answer whose session is unknown.
    """
    connection.execute(RETRY_ANSWERS, (as_list(sessions),))


def _advance_watermark(
    connection: sqlite3.Connection, before: int, positions: Iterable[int], at_us: int
) -> int:
    """Advance the watermark over all events settled without a gap; return the new one."""
    watermark = before
    with closing(connection.execute(AHEAD, (before,))) as ahead:
        for position in heapq.merge(sorted(positions), (position for (position,) in ahead)):
            if position > watermark + 1:
                break
            watermark = max(watermark, position)
    if watermark > before:
        connection.execute(SET_WATERMARK, (watermark,))
        connection.execute(REMOVE_SETTLED, (before, watermark))
        _add_delivery(connection, before, watermark, at_us)
    return watermark


def _add_delivery(connection: sqlite3.Connection, before: int, through: int, at_us: int) -> None:
    """Record when the watermark advanced; within one second, extend the last row."""
    last = connection.execute(DELIVERED_THROUGH, (before,)).fetchone()
    is_known = last is not None and isinstance(last[0], int)
    if is_known and last[0] // _SECOND_US == at_us // _SECOND_US:
        connection.execute(EXTEND_DELIVERY, {"before": before, "through": through})
    else:
        connection.execute(ADD_DELIVERY, (through, at_us))
