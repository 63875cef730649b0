"""Erases the keyed digests of addresses a day after the addresses, in short transactions.

A digest recognises a repeated answer. *Obvious:* keep it as long as the capture. *Why not:* whoever
has the file and its key can test guesses against it. *Price:* a repeat after more than a day gets a
number of its own; head office recognises it by its content, and records a corrected address.
"""

import sqlite3

from agent.store.db.cursor import read_proven_cursor
from agent.store.db.rows import as_list
from agent.store.retention.delivery_times import delivered_before
from agent.store.retention.erase import (
    IS_DEAD_LETTER,
    IS_SETTLED_INDIVIDUALLY,
    MAX_ADDRESSES,
    erase_slice,
)

ERASE_SLICE = f"""
UPDATE email_answer SET address_mark = NULL
WHERE position > :above AND position <= :through AND address_mark IS NOT NULL
    AND address IS NULL AND NOT {IS_DEAD_LETTER} AND NOT {IS_SETTLED_INDIVIDUALLY}
"""  # noqa: S608 - contains no value
ENDED_INDIVIDUALLY = f"""
SELECT position FROM (
    SELECT email_answer.position
    FROM settled JOIN email_answer ON email_answer.position = settled.position
    WHERE settled.destination = 'central' AND settled.delivered_at_us <= :cutoff_us
        AND address IS NULL AND address_mark IS NOT NULL AND NOT {IS_DEAD_LETTER}
    UNION ALL
    SELECT email_answer.position
    FROM dead_letter JOIN email_answer ON email_answer.position = dead_letter.position
    WHERE dead_letter.destination = 'central' AND dead_letter.discarded_at_us <= :cutoff_us
        AND address IS NULL AND address_mark IS NOT NULL
) LIMIT :limit
"""  # noqa: S608 - contains no value
ERASE_DIGESTS = """
UPDATE email_answer SET address_mark = NULL
WHERE position IN (SELECT value FROM json_each(?)) AND address IS NULL
"""
SET_ERASED = "UPDATE destination SET digests_erased_through = ? WHERE name = 'central'"


def erase_digests_below_watermark(connection: sqlite3.Connection, cutoff_us: int) -> bool:
    """Erase some digests of addresses delivered before `cutoff_us`; return whether more remain."""
    cursor = read_proven_cursor(connection)
    above = cursor.digests_erased_through
    bound = delivered_before(connection, cursor, cutoff_us, above=above)
    # Addresses are erased before their digests.
    bound = min(bound, cursor.erased_through)
    if bound <= above:
        return False
    return erase_slice(connection, above, bound, ERASE_SLICE, SET_ERASED)


def find_digests_ended_individually(connection: sqlite3.Connection, cutoff_us: int) -> list[int]:
    """Return positions of digests to erase: settled individually, or discarded. Read-only."""
    values = {"cutoff_us": cutoff_us, "limit": MAX_ADDRESSES}
    return [position for (position,) in connection.execute(ENDED_INDIVIDUALLY, values)]


def erase_digests(connection: sqlite3.Connection, positions: list[int]) -> bool:
    """Erase the digests at `positions`; return whether more may remain."""
    connection.execute(ERASE_DIGESTS, (as_list(positions),))
    return len(positions) == MAX_ADDRESSES
