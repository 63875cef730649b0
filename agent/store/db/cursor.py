"""The delivery cursor: one row of positions that defines which events are settled."""

import sqlite3
from typing import NamedTuple

from agent.store.db.event_rows import MAX_POSITION
from agent.store.db.rows import checked
from agent.store.files.storage_errors import CorruptRow

CENTRAL = "central"
# Two witnesses: a watermark alone, if damaged, would erase and purge what is undelivered.
DELIVERED_THROUGH = """
SELECT max(through_position) FROM delivery
WHERE destination = 'central' AND through_position <= ?
"""
# Of a dead letter or a deferred event; if not, it is pending again since a rewind.
LETTER_IS_SETTLED = """(dead_letter.position <= :watermark OR EXISTS (
    SELECT 1 FROM settled
    WHERE settled.destination = 'central' AND settled.position = dead_letter.position
))"""
# How many events are pending; `:last` is the last position.
COUNT_PENDING = """max(:last - :watermark - (
    SELECT count(*) FROM settled WHERE destination = 'central' AND position > :watermark
), 0)"""
# Pending or deferred: central has no verdict on them.
COUNT_WAITING = f"""{COUNT_PENDING} + (
    SELECT count(*) FROM dead_letter
    WHERE destination = 'central' AND stuck_since_us IS NOT NULL AND {LETTER_IS_SETTLED}
)"""  # noqa: S608 - contains no value
ADD_CURSOR = (
    "INSERT INTO destination (name, watermark) VALUES ('central', 0) ON CONFLICT DO NOTHING"
)


class DeliveryCursor(NamedTuple):
    """The delivery cursor of central; all values are positions."""

    watermark: int = 0
    attempting_from: int = 0
    attempting_through: int = 0
    erased_through: int = 0
    purged_through: int = 0
    digests_erased_through: int = 0


COLUMNS = DeliveryCursor._fields
READ_CURSOR = f"SELECT {', '.join(COLUMNS)} FROM destination WHERE name = 'central'"  # noqa: S608 - no value


def read_cursor(connection: sqlite3.Connection) -> DeliveryCursor:
    """Read the cursor; all zeros if there is no row yet. Raises `CorruptRow`."""
    row = connection.execute(READ_CURSOR).fetchone()
    if row is None:
        return DeliveryCursor()
    cursor = checked(row, DeliveryCursor)
    if not all(0 <= position <= MAX_POSITION for position in cursor):
        raise CorruptRow("a position of the cursor is out of range")
    return cursor


def read_proven_cursor(connection: sqlite3.Connection) -> DeliveryCursor:
    """Read the cursor, its watermark not above the last acknowledgement: to erase and to purge."""
    cursor = read_cursor(connection)
    (through,) = connection.execute(DELIVERED_THROUGH, (MAX_POSITION,)).fetchone()
    proven = through if isinstance(through, int) else 0
    return cursor._replace(watermark=min(cursor.watermark, proven))


def ensure_cursor(connection: sqlite3.Connection) -> DeliveryCursor:
    """Read the cursor for an update, inserting its row if missing."""
    connection.execute(ADD_CURSOR)
    return read_cursor(connection)
