"""Deletes the rows of purged answers, but none whose neighbours hold an address or a digest.

When a page becomes nearly empty, SQLite merges it with its neighbours, and a row that it moves may
stay at its old place, too, out of reach of a later erasure. So a purged answer first becomes an
empty row, of session 0. It is deleted once no row near it holds a secret.

*Obvious:* VACUUM. *Why not:* it rewrites the whole file with the writer held.
"""

import sqlite3
from typing import NamedTuple

from agent.store.db.rows import as_list

# SQLite moves rows of at most two pages to either side, and a page has room for 204 empty rows.
NEIGHBOURS = 650
# Rows examined in one short read. Beside the address of a dead letter they stay for long.
MAX_EXAMINED = 500
_HOLDS_SECRET = "(address IS NOT NULL OR address_mark IS NOT NULL)"  # noqa: S105 - column names
EMPTY_ANSWERS = """
UPDATE email_answer SET address = NULL, address_mark = NULL, session_position = 0
WHERE position IN (SELECT value FROM json_each(?))
"""
EMPTY_AFTER = """
SELECT position FROM email_answer WHERE session_position = 0 AND position > ?
ORDER BY position LIMIT ?
"""
REMOVABLE_ANSWERS = f"""
SELECT position FROM email_answer AS empty
WHERE position IN (SELECT value FROM json_each(:positions)) AND NOT EXISTS (
    SELECT 1 FROM (
        SELECT address, address_mark FROM email_answer
        WHERE position > empty.position ORDER BY position LIMIT {NEIGHBOURS}
    ) WHERE {_HOLDS_SECRET}
) AND NOT EXISTS (
    SELECT 1 FROM (
        SELECT address, address_mark FROM email_answer
        WHERE position < empty.position ORDER BY position DESC LIMIT {NEIGHBOURS}
    ) WHERE {_HOLDS_SECRET}
)
ORDER BY position LIMIT :limit
"""  # noqa: S608 - contains no value
SECRETS_AFTER = f"""
SELECT count(*) FROM (
    SELECT address, address_mark FROM email_answer
    WHERE position > ? ORDER BY position LIMIT {NEIGHBOURS}
) WHERE {_HOLDS_SECRET}
"""  # noqa: S608 - contains no value
REMOVE_ANSWERS = """
DELETE FROM email_answer
WHERE session_position = 0 AND position IN (SELECT value FROM json_each(?))
"""


class Examined(NamedTuple):
    """Empty rows that can be deleted, and where to continue: 0 for the first row."""

    removable: list[int]
    through: int = 0


def empty_answers(connection: sqlite3.Connection, positions: list[int]) -> None:
    """Erase the answers at `positions`; their rows belong to no session any more."""
    connection.execute(EMPTY_ANSWERS, (as_list(positions),))


def find_removable_answers(connection: sqlite3.Connection, limit: int, above: int = 0) -> Examined:
    """Examine the next `MAX_EXAMINED` empty rows after `above` for secrets near them. Read-only.

    After the last row it begins again with the first one.
    """
    examined = _positions(connection, EMPTY_AFTER, (above, MAX_EXAMINED))
    if not examined and above:
        examined = _positions(connection, EMPTY_AFTER, (0, MAX_EXAMINED))
    values = {"positions": as_list(examined), "limit": limit}
    removable = _positions(connection, REMOVABLE_ANSWERS, values)
    if len(removable) == limit:
        return Examined(removable, removable[-1])
    return Examined(removable, examined[-1] if len(examined) == MAX_EXAMINED else 0)


def remove_answers(connection: sqlite3.Connection, positions: list[int]) -> bool:
    """Delete the empty rows at `positions`; return False if answers were captured near them since.

    Captures add secrets behind the last row only, and no secret ever comes back.
    """
    if not positions:
        return False
    (secrets,) = connection.execute(SECRETS_AFTER, (positions[-1],)).fetchone()
    if secrets:
        return False
    connection.execute(REMOVE_ANSWERS, (as_list(positions),))
    return True


def _positions(
    connection: sqlite3.Connection, sql: str, values: tuple[int, ...] | dict[str, object]
) -> list[int]:
    return [position for (position,) in connection.execute(sql, values)]
