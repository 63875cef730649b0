"""Writes a whole group of captures by one statement, its commit and sync included.

Each call into SQLite gives the interpreter's lock away, and the event loop then holds it
for the rest of its turn. Between BEGIN, three inserts and COMMIT that costs a capture more
than SQLite does. So a group goes in one call: its rows go into a view, and a trigger puts
each into its tables. Outside a transaction such a statement is a transaction of its own.

View and trigger are temporary: they belong to the connection and not to the file.
"""

import sqlite3
from collections.abc import Callable, Sequence

from agent.store.db.tables import EmailAnswer, Event, Session, table_of
from agent.store.db.transactions import transaction
from sync.protocol.wire import EventType

MOST_ROWS = 64

_EVENT = [column.name for column in table_of(Event).columns]
_SESSION = [column.name for column in table_of(Session).columns]
_ANSWER = [column.name for column in table_of(EmailAnswer).columns]
# A row of the view: the event, then what its session or answer has beside it.
COLUMNS = [*_EVENT, *(name for name in [*_SESSION, *_ANSWER] if name not in _EVENT)]


def _insert(table: str, columns: Sequence[str], when: str) -> str:
    new = ", ".join(f"NEW.{name}" for name in columns)
    return f"INSERT INTO {table} ({', '.join(columns)}) SELECT {new} WHERE {when};"


_VIEW = f"""
CREATE TEMP VIEW intake AS SELECT {", ".join(f"NULL AS {name}" for name in COLUMNS)};
CREATE TEMP TRIGGER take_in INSTEAD OF INSERT ON intake WHEN NEW.position IS NOT NULL BEGIN
{_insert("event", _EVENT, "TRUE")}
{_insert("session", _SESSION, f"NEW.type = '{EventType.SESSION_STARTED}'")}
{_insert("email_answer", _ANSWER, f"NEW.type = '{EventType.EMAIL_ANSWERED}'")}
END;
"""
_ROW = f"({', '.join('?' * len(COLUMNS))})"
_NO_ROW: list[object] = [None] * len(COLUMNS)
# A few sizes, so that the driver keeps each prepared; empty rows fill a group up to the next.
_SIZES = tuple(1 << exponent for exponent in range(MOST_ROWS.bit_length()))
_SQL = {
    size: f"INSERT INTO intake VALUES {', '.join([_ROW] * size)}"  # noqa: S608 - no value in it
    for size in _SIZES
}


class Intake:
    """Puts rows of `COLUMNS` into the tables of a connection that writes."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        connection.executescript(_VIEW)
        self._connection = connection

    def write(self, values: list[object], meanwhile: Callable[[], None]) -> None:
        """Write the rows whose values stand one after another: on the disk when this returns.

        All of them or, where this raises, none. `meanwhile` starts, without waiting for it,
        what others can do in this time. Raises `sqlite3.Error`.
        """
        meanwhile()
        most = MOST_ROWS * len(COLUMNS)
        if len(values) <= most:
            self._write_some(values)
            return
        with transaction(self._connection):
            for start in range(0, len(values), most):
                self._write_some(values[start : start + most])

    def _write_some(self, values: list[object]) -> None:
        rows = len(values) // len(COLUMNS)
        if rows == 0:
            return
        size = next(size for size in _SIZES if size >= rows)
        self._connection.execute(_SQL[size], values + _NO_ROW * (size - rows))
