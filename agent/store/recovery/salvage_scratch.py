"""The scratch file of a salvage: the rows found so far, and how far the pages were read.

It lies beside the quarantined database, whose addresses it holds as they are: encrypted. A killed
process continues where its last transaction ended.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from agent.store.db import lost_captures
from agent.store.db.rows import checked
from agent.store.db.transaction import transaction
from agent.store.files.quarantine import SCRATCH_FILE
from agent.store.recovery.recognise import Row
from sync.runtime.files.private_files import create_private

# The first column is the key. Values keep the type that they have in the pages.
_COLUMNS = {
    "event": "position, type, session_position, wall_us, monotonic_us, boot_number, body, checksum",
    "session": "position, correlation_id, query_locale, closed",
    "answer": "position, session_position, status, address, address_mark",
    "epoch": "number, epoch, base_position, reason, moved_events",
    "lost_captures": f"number, {lost_captures.COLUMNS}",
    "returned": "number, epoch, first_sequence, last_sequence",
    "boot": "number, boot_id, first_seen_us",
    "alias": "position, sequence, epoch",
    "destination": "id, watermark, erased_through",
    "delivery": "position",
    "settled": "position",
    "dead_letter": "position, discarded",
}
# With its session, and an answer with its own row.
COMPLETE = """
event.position IN (
    SELECT event.position FROM event JOIN session ON session.position = event.session_position
    LEFT JOIN answer ON answer.position = event.position
    WHERE event.position = event.session_position
        OR answer.session_position = event.session_position
)
"""


def _create(table: str, columns: str) -> str:
    key, *others = columns.split(", ")
    return f"CREATE TABLE {table} ({', '.join([f'{key} INTEGER PRIMARY KEY', *others, 'rank'])})"


def _put(table: str, columns: str) -> str:
    names = columns.split(", ")
    values = ", ".join(f"?{place}" for place in range(1, len(names) + 2))
    return (
        f"INSERT OR REPLACE INTO {table} SELECT {values} WHERE NOT EXISTS"  # noqa: S608 - no value
        f" (SELECT 1 FROM {table} WHERE {names[0]} = ?1 AND rank > ?{len(names) + 1})"
    )


_PUT = {table: _put(table, columns) for table, columns in _COLUMNS.items()}
_SCHEMA = (
    *(_create(table, columns) for table, columns in _COLUMNS.items()),
    "CREATE INDEX event_by_session ON event (session_position)",
    "CREATE TABLE todo (position INTEGER PRIMARY KEY)",
    "CREATE TABLE progress (versions, is_complete, unreadable, is_whole)",
    "INSERT INTO progress VALUES (0, 0, 0, 0)",
)


# Raised with each change of the tables: a file of another version is begun again.
VERSION = 1
_PROGRESS = "SELECT versions, is_complete, unreadable, is_whole FROM progress"
_TABLES = "SELECT name FROM sqlite_schema WHERE type = 'table'"


class Progress(NamedTuple):
    """How many versions of pages are read; at the end also how many captures are unreadable.

    `is_whole`: nothing is missing in the file, so that it may be deleted after delivery.
    """

    versions: int
    is_complete: int
    unreadable: int
    is_whole: int


class Scratch:
    """An open scratch file. Raises `sqlite3.Error`."""

    def __init__(self, path: Path) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None)
        with transaction(self.connection):
            if version_of(self.connection) != VERSION:
                for (table,) in self.connection.execute(_TABLES).fetchall():
                    self.connection.execute(f"DROP TABLE {table}")
                for statement in (*_SCHEMA, f"PRAGMA user_version = {VERSION}"):
                    self.connection.execute(statement)

    def progress(self) -> Progress:
        """Return the progress as of the last transaction."""
        return read_progress(self.connection)

    def put(self, rows: Iterable[tuple[Row, int]], versions: int) -> None:
        """Add rows with their ranks, and record that `versions` are read."""
        with transaction(self.connection):
            for row, rank in rows:
                self.connection.execute(_PUT[row.table], (*row.values, rank))
            self.connection.execute("UPDATE progress SET versions = ?", (versions,))

    def complete(self, statements: Iterable[str], unreadable: int, *, is_whole: bool) -> None:
        """Run `statements` and record that all is read."""
        with transaction(self.connection):
            for statement in statements:
                self.connection.execute(statement)
            self.connection.execute(
                "UPDATE progress SET is_complete = 1, unreadable = ?, is_whole = ?",
                (unreadable, int(is_whole)),
            )


def read_progress(connection: sqlite3.Connection) -> Progress:
    """Return the progress as of the last transaction."""
    return checked(connection.execute(_PROGRESS).fetchone(), Progress)


def version_of(connection: sqlite3.Connection) -> int:
    """Return the version of the tables; 0 if there are none, or older ones."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


@contextmanager
def open_scratch(place: Path) -> Iterator[Scratch]:
    """Open the scratch file of the quarantined database in `place`."""
    create_private(place / SCRATCH_FILE)
    scratch = Scratch(place / SCRATCH_FILE)
    with closing(scratch.connection):
        yield scratch
