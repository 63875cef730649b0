"""Puts many rows into a table at once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from operator import itemgetter
from types import MappingProxyType
from typing import Any

import msgspec
from sqlalchemy import Connection, Dialect, Table, insert
from sqlalchemy.dialects import sqlite

from sync.receiver.db.columns import Moment, text_of

Row = Mapping[str, object]
_NOTHING: Row = MappingProxyType({})


def add_rows(
    connection: Connection, table: Table, rows: Sequence[Row], alike: Row = _NOTHING
) -> None:
    """Add `rows`, which with what is `alike` in all of them have a value for every column."""
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        adding = _adding(table)
        values = [adding.values({**alike, **row}) for row in rows]
        connection.exec_driver_sql(adding.sql, values)
    else:
        encoded = msgspec.json.encode(rows).decode()
        adding_at_once = _adding_at_once(table, tuple(alike), connection.dialect)
        connection.exec_driver_sql(adding_at_once, (encoded, *alike.values()))


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
def _adding_at_once(table: Table, alike: tuple[str, ...], dialect: Dialect) -> str:
    """Return an insert of rows that come as one JSON array of objects, named as the columns.

    As one value, because the driver looks into an array in Python, member by member: for the
    receiver arrays, and COPY as well, cost more than twice as much. What is `alike` in all rows
    is given once: both ends would write and read it for each.
    """
    types = {column.name: column.type.compile(dialect) for column in table.columns}
    given = [f"${place}::{types[name]}" for place, name in enumerate(alike, start=2)]
    others = [name for name in types if name not in alike]
    # Nothing in it comes from outside: the names are those of our own tables.
    return (
        f"INSERT INTO {table.name} ({', '.join((*alike, *others))})"  # noqa: S608 - see above
        f" SELECT {', '.join((*given, *others))} FROM json_to_recordset($1)"
        f" AS came ({', '.join(f'{name} {types[name]}' for name in others)})"
    )
