"""Compiles SQLAlchemy Core statements to SQL text once, at import.

Building and compiling a statement costs several times as much as SQLite needs to run it. The tables
stay the single definition of the columns; the hot path runs the compiled text on the driver's
connection.
"""

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec
from sqlalchemy import ClauseElement, ColumnElement, Select, bindparam, func, literal_column, select
from sqlalchemy.dialects import sqlite
from sqlmodel import Session


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL text for SQLite and the names of its parameters, in order."""

    sql: str
    names: tuple[str, ...]

    def row(self, values: Mapping[str, object]) -> tuple[object, ...]:
        """Return `values` in the order of the statement's parameters."""
        return tuple(values[name] for name in self.names)

    def run(self, connection: sqlite3.Connection, **values: object) -> sqlite3.Cursor:
        """Execute the statement with its named parameters."""
        return connection.execute(self.sql, self.row(values))

    def column(self, connection: sqlite3.Connection, **values: object) -> list[int]:
        """Return the first column of all rows."""
        return [row[0] for row in self.run(connection, **values)]


def compiled(clause: ClauseElement) -> Statement:
    """Compile a Core statement in which every value is a named parameter or a `constant`."""
    text = clause.compile(dialect=sqlite.dialect(paramstyle="qmark"))
    if strays := [name for name, value in text.params.items() if value is not None]:
        raise ValueError(f"bound without a name, use constant(): {strays}")
    return Statement(str(text), tuple(getattr(text, "positiontup", None) or ()))


def constant(value: int | str) -> ColumnElement[int | str]:
    """Return `value`, a constant of this program, as a literal in the SQL text."""
    return literal_column(repr(value))


# SQLAlchemy adds OFFSET to each LIMIT on SQLite; unless given as a constant it is a parameter.
NO_OFFSET = constant(0)


def listed(name: str) -> Select[tuple[int]]:
    """Return a subquery of the integers in the JSON parameter `name` (see `as_list`)."""
    return select(func.json_each(bindparam(name)).table_valued("value").c.value)


def as_list(numbers: Iterable[int]) -> str:
    """Encode integers as one JSON parameter for a statement with `listed`."""
    return msgspec.json.encode(list(numbers)).decode()


def driver_connection(session: Session) -> sqlite3.Connection:
    """Return the driver's connection of `session`, for compiled statements in its transaction."""
    connection = session.connection().connection.driver_connection
    assert isinstance(connection, sqlite3.Connection)  # noqa: S101 - narrows the type
    return connection
