"""SQLAlchemy Core statements made into text once, so that a capture pays for SQLite alone.

Building and compiling a statement costs several times what SQLite needs to run it. The
tables stay the one place where columns are named; the hot way runs the compiled text on
the driver's connection.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec
from sqlalchemy import ClauseElement, ColumnElement, Select, bindparam, func, literal_column, select
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


def constant(value: int | str) -> ColumnElement[int | str]:
    """Write `value`, a constant of this program, into the statement's text."""
    return literal_column(repr(value))


def listed(name: str) -> Select[tuple[int]]:
    """Select the numbers of the parameter `name`, given by `as_list`."""
    return select(func.json_each(bindparam(name)).table_valued("value").c.value)


def as_list(numbers: Iterable[int]) -> str:
    """Write numbers as one value, for a statement with `listed`."""
    return msgspec.json.encode(list(numbers)).decode()
