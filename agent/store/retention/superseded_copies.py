"""Finds superseded copies made before a migration: those without events that are only there.

A copy holds addresses that no erasure reaches. It is superseded once every event that was pending
in it is settled in the live database. The live database may descend from another file (one
restored from a backup, or a new one after damage): it must hold the same event at the same
position, or the copy is kept.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from agent.store.db.cursor import read_cursor
from agent.store.db.epochs import read_epochs
from sync.runtime.files.migration_copies import list_migration_copies

# In the tables of the first schema.
LAST_PENDING = """
SELECT max(position) FROM (
    SELECT max(position) AS position FROM event
    WHERE position > coalesce((SELECT watermark FROM destination WHERE name = 'central'), 0)
    UNION ALL SELECT max(position) FROM dead_letter
)
"""
EVENT_AT = """
SELECT event.type, session_position, occurred_at_us, monotonic_us, boot_id
FROM event JOIN boot ON boot.number = event.boot_number WHERE event.position = ?
"""


def find_superseded(live: sqlite3.Connection, database: Path) -> list[Path]:
    """Return the copies of `database`, open on `live`, that may be deleted. Read-only."""
    copies = (copy.path for copy in list_migration_copies(database))
    return [path for path in copies if _is_superseded(path, live)]


def _is_superseded(path: Path, live: sqlite3.Connection) -> bool:
    # Immutable: a copy has no WAL, and SQLite must create no file beside it.
    uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(uri, uri=True)) as copy:
            (position,) = copy.execute(LAST_PENDING).fetchone()
            return position is None or _is_settled(position, copy, live)
    except (sqlite3.Error, IndexError):
        # Damaged, or not a copy of ours: for a person to decide.
        return False


def _is_settled(position: int, copy: sqlite3.Connection, live: sqlite3.Connection) -> bool:
    """Return whether `live` has settled all events of `copy` up to its last pending one."""
    cursor = read_cursor(live)
    if position > cursor.watermark:
        return False
    event = live.execute(EVENT_AT, (position,)).fetchone()
    if event is not None:
        return bool(event == copy.execute(EVENT_AT, (position,)).fetchone())
    # Purged since: compare the epochs instead.
    known = read_epochs(copy).range_at(position)
    now = read_epochs(live).range_of(known.epoch)
    return (
        position <= cursor.purged_through
        and now is not None
        and now.base_position == known.base_position
        and now.last_position >= position
    )
