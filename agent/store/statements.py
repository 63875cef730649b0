"""SQLAlchemy Core statements made into text once, so that a capture pays for SQLite alone.

Building and compiling a statement costs several times what SQLite needs to run it. The
tables stay the one place where columns are named; the hot way runs the compiled text on
the driver's connection.
"""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import ClauseElement, ColumnElement, literal_column
from sqlalchemy.dialects import sqlite


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement for SQLite: its text, and the names of its parameters in their order."""

    sql: str
    names: tuple[str, ...]

    def row(self, values: Mapping[str, object]) -> tuple[object, ...]:
        """Put `values` into the order of the statement's parameters."""
        return tuple(values[name] for name in self.names)


def compiled(clause: ClauseElement) -> Statement:
    """Compile a Core statement whose values are all bound by name; constants are `constant`s."""
    text = clause.compile(dialect=sqlite.dialect(paramstyle="qmark"))
    if strays := [name for name, value in text.params.items() if value is not None]:
        raise ValueError(f"bound without a name, use constant(): {strays}")
    return Statement(str(text), tuple(getattr(text, "positiontup", None) or ()))


class Insert:
    """Inserts many rows by few statements.

    Each time SQLite is called the interpreter's lock is given away and has to be waited for
    while the event loop works; a row at a time, that costs more than SQLite itself. So up to
    `MOST_ROWS` rows go into one statement, of sizes that the driver keeps prepared.
    """

    MOST_ROWS = 64

    def __init__(self, statement: Statement) -> None:
        self.names = statement.names
        self._width = len(statement.names)
        head, _, row = statement.sql.rpartition(" VALUES ")
        self._sql = {
            size: f"{head} VALUES {', '.join([row] * size)}"
            for size in _powers_of_two(self.MOST_ROWS)
        }

    def run(self, connection: sqlite3.Connection, values: list[object]) -> None:
        """Insert the rows whose values stand one after another in `values`."""
        start, rows = 0, len(values) // self._width
        for size, sql in self._sql.items():
            while rows >= size:
                end = start + size * self._width
                connection.execute(sql, values[start:end])
                start, rows = end, rows - size


def _powers_of_two(most: int) -> list[int]:
    return [1 << exponent for exponent in reversed(range(most.bit_length()))]


def constant(value: int | str) -> ColumnElement[int | str]:
    """Write `value`, a constant of this program, into the statement's text."""
    return literal_column(repr(value))
