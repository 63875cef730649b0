"""Boots of the machine: clock readings of one boot can be compared with each other."""

import sqlite3

from agent.store.db.rows import checked

FIND_BOOT = "SELECT number FROM boot WHERE boot_id = ?"
ADD_BOOT = """
INSERT INTO boot (number, boot_id, first_seen_us)
SELECT 1 + coalesce(max(number), 0), ?, ? FROM boot RETURNING number
"""


def open_boot(connection: sqlite3.Connection, boot_id: str, now_us: int) -> int:
    """Return the number of the current boot; add a row for a new one."""
    row = connection.execute(FIND_BOOT, (boot_id,)).fetchone()
    if row is None:
        row = connection.execute(ADD_BOOT, (boot_id, now_us)).fetchone()
    return checked(row, tuple[int])[0]
