"""Puts many rows into a table at once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from operator import itemgetter
from typing import Any

import msgspec
from sqlalchemy import Connection, Table, insert
from sqlalchemy.dialects import sqlite

from sync.receiver.columns import Moment, text_of

Row = Mapping[str, object]


def add_rows(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Add `rows`, each with a value for every column of `table`."""
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        adding = _adding(table)
        connection.exec_driver_sql(adding.sql, [adding.values(row) for row in rows])
    else:
        connection.exec_driver_sql(_adding_at_once(table), (msgspec.json.encode(rows).decode(),))


@dataclass(frozen=True, slots=True)
class _Adding:
    """An insert as the driver takes it: past SQLAlchemy a row costs a third."""

    sql: str
    in_order: Callable[[Row], tuple[Any, ...]]
    moments: tuple[int, ...]

    def values(self, row: Row) -> tuple[object, ...]:
        values: list[object] = list(self.in_order(row))
        for place in self.moments:
            if (moment := values[place]) is not None:
                values[place] = text_of(moment)  # type: ignore[arg-type] # the column's type
        return tuple(values)


@cache
def _adding(table: Table) -> _Adding:
    compiled = insert(table).compile(dialect=sqlite.dialect(paramstyle="qmark"))
    names: tuple[str, ...] = tuple(getattr(compiled, "positiontup", None) or ())
    moments = (place for place, name in enumerate(names) if isinstance(table.c[name].type, Moment))
    return _Adding(str(compiled), itemgetter(*names), tuple(moments))


@cache
def _adding_at_once(table: Table) -> str:
    """Return an insert of rows that come as one JSON array of objects, named as the columns.

    As one value, because the driver looks into an array in Python, member by member: for the
    receiver arrays, and COPY as well, cost more than twice as much.
    """
    names = ", ".join(table.c.keys())
    # Nothing in it comes from outside: the names are those of our own tables.
    return (
        f"INSERT INTO {table.name} ({names})"  # noqa: S608 - see above
        f" SELECT {names} FROM json_populate_recordset(NULL::{table.name}, $1)"
    )
