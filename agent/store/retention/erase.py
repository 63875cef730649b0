"""Erases the addresses of delivered events, in short transactions that delay no till.

SQLite overwrites the erased bytes with zeros (`secure_delete`); the write-ahead log holds them
until it is scrubbed (`db/stale_frames.py`).
"""

import sqlite3

from agent.store.db.cursor import read_proven_cursor
from agent.store.db.rows import as_list
from agent.store.retention.delivery_times import delivered_before

MAX_ADDRESSES = 200
_ANY_TIME_US = 2**63 - 1
IS_DEAD_LETTER = """EXISTS (
    SELECT 1 FROM dead_letter
    WHERE dead_letter.destination = 'central' AND dead_letter.position = email_answer.position
)"""
IS_SETTLED_INDIVIDUALLY = """EXISTS (
    SELECT 1 FROM settled
    WHERE settled.destination = 'central' AND settled.position = email_answer.position
)"""
NEXT_ANSWERS = """
SELECT position FROM email_answer
WHERE position > :above AND position <= :through ORDER BY position LIMIT :limit
"""
ERASE_SLICE = f"""
UPDATE email_answer SET address = NULL
WHERE position > :above AND position <= :through AND address IS NOT NULL
    AND NOT {IS_DEAD_LETTER} AND NOT {IS_SETTLED_INDIVIDUALLY}
"""  # noqa: S608 - contains no value
SETTLED_INDIVIDUALLY = f"""
SELECT email_answer.position
FROM settled JOIN email_answer ON email_answer.position = settled.position
WHERE settled.destination = 'central' AND settled.delivered_at_us <= ?
    AND address IS NOT NULL AND NOT {IS_DEAD_LETTER}
ORDER BY email_answer.position LIMIT ?
"""  # noqa: S608 - contains no value
ERASE_ADDRESSES = f"""
UPDATE email_answer SET address = NULL
WHERE position IN (SELECT value FROM json_each(?))
    AND {IS_SETTLED_INDIVIDUALLY} AND NOT {IS_DEAD_LETTER}
"""  # noqa: S608 - contains no value
SET_ERASED = "UPDATE destination SET erased_through = ? WHERE name = 'central'"


def erase_below_watermark(connection: sqlite3.Connection, cutoff_us: int | None) -> bool:
    """Erase some addresses delivered before `cutoff_us` (None: any time).

    Returns whether more remain. A dead letter keeps its address until it is delivered or discarded.
    Events settled individually have their own delivery time (see `find_settled_individually`).
    """
    cursor = read_proven_cursor(connection)
    above, bound = cursor.erased_through, cursor.watermark
    if cutoff_us is not None:
        bound = delivered_before(connection, cursor, cutoff_us, above=above)
    if bound <= above:
        return False
    return erase_slice(connection, above, bound, ERASE_SLICE, SET_ERASED)


def erase_slice(
    connection: sqlite3.Connection, above: int, bound: int, erase: str, set_erased: str
) -> bool:
    """Run `erase` on the first `MAX_ADDRESSES` answers in (above, bound]; True if more remain.

    `set_erased` stores the last position of the slice.
    """
    part = {"above": above, "through": bound, "limit": MAX_ADDRESSES}
    answers = connection.execute(NEXT_ANSWERS, part).fetchall()
    if len(answers) == MAX_ADDRESSES:
        part["through"] = answers[-1][0]
    connection.execute(erase, part)
    connection.execute(set_erased, (part["through"],))
    return part["through"] < bound


def find_settled_individually(connection: sqlite3.Connection, cutoff_us: int | None) -> list[int]:
    """Return positions of addresses to erase among individually settled events. Read-only.

    One event without a verdict can hold the watermark back for days; addresses delivered after it
    are erased all the same. A dead letter delivered late is kept as long as any other event.
    """
    cutoff_us = _ANY_TIME_US if cutoff_us is None else cutoff_us
    rows = connection.execute(SETTLED_INDIVIDUALLY, (cutoff_us, MAX_ADDRESSES))
    return [position for (position,) in rows]


def erase_addresses(connection: sqlite3.Connection, positions: list[int]) -> bool:
    """Erase the addresses at `positions` if still settled; return whether more may remain."""
    connection.execute(ERASE_ADDRESSES, (as_list(positions),))
    return len(positions) == MAX_ADDRESSES
