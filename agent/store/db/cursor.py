"""The delivery cursor: one row of positions that defines which events are settled."""

import sqlite3
from typing import NamedTuple

from agent.store.db.rows import checked

CENTRAL = "central"
READ_CURSOR = """
SELECT watermark, attempting_from, attempting_through, erased_through, purged_through,
    digests_erased_through
FROM destination WHERE name = 'central'
"""
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


def read_cursor(connection: sqlite3.Connection) -> DeliveryCursor:
    """Read the cursor; all zeros if there is no row yet."""
    row = connection.execute(READ_CURSOR).fetchone()
    return DeliveryCursor() if row is None else checked(row, DeliveryCursor)


def ensure_cursor(connection: sqlite3.Connection) -> DeliveryCursor:
    """Read the cursor for an update, inserting its row if missing."""
    connection.execute(ADD_CURSOR)
    return read_cursor(connection)
