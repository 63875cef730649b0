"""Finds the old encryption keys that something stored still needs.

A ciphertext and a digest begin with the name of their key. The digest recognises a repeated answer
a day longer than the address stands; one of version 0.1.0 names no key, and may be of any.
"""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from agent.store.files.quarantine import list_unfinished
from sync.runtime.files.migration_copies import list_migration_copies

ENCRYPTED_ADDRESS = "SELECT 1 FROM email_answer WHERE substr(address, 1, ?) = ? LIMIT 1"
ENCRYPTED_BODY = "SELECT 1 FROM event WHERE substr(body, 1, ?) = ? LIMIT 1"
DIGEST = "SELECT 1 FROM email_answer WHERE substr(address_mark, 1, ?) = ? LIMIT 1"


def find_needed_keys(
    connection: sqlite3.Connection, database: Path, in_use: bytes, old: Sequence[bytes]
) -> set[bytes]:
    """Return the headers in `old` of keys that are still needed. Raises `OSError`.

    All are while a quarantined database is salvaged, or a copy made before a migration is there.
    """
    if list_unfinished(database.parent) or list_migration_copies(database):
        return set(old)
    names = [header[1:] for header in (in_use, *old)]
    if _has_unnamed_digest(connection, names):
        return set(old)
    return {header for header in old if _is_needed(connection, header)}


def _is_needed(connection: sqlite3.Connection, header: bytes) -> bool:
    name = header[1:]
    queries = (
        (ENCRYPTED_ADDRESS, (len(header), header)),
        (DIGEST, (len(name), name)),
        (ENCRYPTED_BODY, (len(header), header)),
    )
    return any(connection.execute(sql, values).fetchone() for sql, values in queries)


def _has_unnamed_digest(connection: sqlite3.Connection, names: Sequence[bytes]) -> bool:
    known = ", ".join("?" for _ in names)
    sql = f"""
SELECT 1 FROM email_answer WHERE address_mark IS NOT NULL
    AND substr(address_mark, 1, ?) NOT IN ({known}) LIMIT 1
"""  # noqa: S608 - placeholders only
    return connection.execute(sql, (len(names[0]), *names)).fetchone() is not None
