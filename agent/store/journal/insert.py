"""Inserts a whole group of captures with one statement, including its commit and sync.

Each call into SQLite releases the GIL, and the event loop then holds it for the rest of its
iteration. Between BEGIN, three inserts and COMMIT, that costs a capture more than SQLite does. So a
group goes in one call: its rows are inserted into a view, and a trigger inserts each into its
tables. Outside a transaction such a statement is a transaction of its own.

View and trigger are temporary: they belong to the connection, not to the file.
"""

import sqlite3
from collections.abc import Sequence

from agent.store.db.tables import EmailAnswerRow, EventRow, SessionRow, table_of
from agent.store.db.transaction import transaction
from sync.protocol.wire import EventType

MAX_ROWS = 64

_EVENT = [column.name for column in table_of(EventRow).columns]
_SESSION = [column.name for column in table_of(SessionRow).columns]
_ANSWER = [column.name for column in table_of(EmailAnswerRow).columns]
# A row of the view: the event's columns, then those of its session or answer.
COLUMNS = [*_EVENT, *(name for name in [*_SESSION, *_ANSWER] if name not in _EVENT)]


def _insert(table: str, columns: Sequence[str], when: str) -> str:
    new = ", ".join(f"NEW.{name}" for name in columns)
    return f"INSERT INTO {table} ({', '.join(columns)}) SELECT {new} WHERE {when};"


_VIEW = f"""
CREATE TEMP VIEW capture AS SELECT {", ".join(f"NULL AS {name}" for name in COLUMNS)};
CREATE TEMP TRIGGER insert_capture INSTEAD OF INSERT ON capture WHEN NEW.position IS NOT NULL BEGIN
{_insert("event", _EVENT, "TRUE")}
{_insert("session", _SESSION, f"NEW.type = '{EventType.SESSION_STARTED}'")}
{_insert("email_answer", _ANSWER, f"NEW.type = '{EventType.EMAIL_ANSWERED}'")}
END;
"""
_ROW = f"({', '.join('?' * len(COLUMNS))})"
_NO_ROW: list[object] = [None] * len(COLUMNS)
# A few sizes, so that the driver keeps each one prepared; a group is padded with empty rows.
_SIZES = tuple(1 << exponent for exponent in range(MAX_ROWS.bit_length()))
_EVENT_AT = f"SELECT {', '.join(_EVENT)} FROM event WHERE position = ?"  # noqa: S608 - contains no value
_SQL = {
    size: f"INSERT INTO capture VALUES {', '.join([_ROW] * size)}"  # noqa: S608 - contains no value
    for size in _SIZES
}


class GroupInserter:
    """Inserts rows of `COLUMNS` through the writer's connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        connection.executescript(_VIEW)
        self._connection = connection

    def insert(self, values: list[object]) -> None:
        """Insert the rows given as one flat list of values; on disk on return.

        All rows or, if this raises `sqlite3.Error`, none.
        """
        most = MAX_ROWS * len(COLUMNS)
        if len(values) <= most:
            self._insert_rows(values)
            return
        with transaction(self._connection):
            for start in range(0, len(values), most):
                self._insert_rows(values[start : start + most])

    def has_inserted(self, values: list[object]) -> bool:
        """Return whether the file has exactly the events of these rows; encrypted ones included."""
        for start in range(0, len(values), len(COLUMNS)):
            event = tuple(values[start : start + len(_EVENT)])
            if self._connection.execute(_EVENT_AT, event[:1]).fetchone() != event:
                return False
        return True

    def _insert_rows(self, values: list[object]) -> None:
        rows = len(values) // len(COLUMNS)
        if rows == 0:
            return
        size = next(size for size in _SIZES if size >= rows)
        self._connection.execute(_SQL[size], values + _NO_ROW * (size - rows))
