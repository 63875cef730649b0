"""Bulk insert."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from operator import itemgetter
from types import MappingProxyType
from typing import Any

import msgspec
from sqlalchemy import Connection, Dialect, Table, insert
from sqlalchemy.dialects import sqlite

from sync.protocol.rfc3339 import to_rfc3339
from sync.receiver.db.columns import UtcTimestamp

Row = Mapping[str, object]
_NOTHING: Row = MappingProxyType({})


def insert_rows(
    connection: Connection, table: Table, rows: Sequence[Row], alike: Row = _NOTHING
) -> None:
    """Insert `rows`. `alike` holds the columns that have the same value in every row."""
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
    """A compiled insert for the driver: bypassing SQLAlchemy costs a third per row."""

    sql: str
    in_order: Callable[[Row], tuple[Any, ...]]
    moments: tuple[int, ...]

    def values(self, row: Row) -> tuple[object, ...]:
        values: list[object] = list(self.in_order(row))
        for place in self.moments:
            if (moment := values[place]) is not None:
                values[place] = to_rfc3339(moment)  # type: ignore[arg-type] # the column's type
        return tuple(values)


@cache
def _adding(table: Table) -> _Adding:
    compiled = insert(table).compile(dialect=sqlite.dialect(paramstyle="qmark"))
    names: tuple[str, ...] = tuple(getattr(compiled, "positiontup", None) or ())
    moments = (
        place for place, name in enumerate(names) if isinstance(table.c[name].type, UtcTimestamp)
    )
    return _Adding(str(compiled), itemgetter(*names), tuple(moments))


@cache
def _adding_at_once(table: Table, alike: tuple[str, ...], dialect: Dialect) -> str:
    """Return an insert of rows that are bound as one JSON array of objects, keyed by column.

    One JSON parameter, because asyncpg encodes arrays in Python, member by member: arrays and
    COPY both cost the receiver more than twice as much. Columns `alike` in all rows are bound
    once, to encode and parse them once.
    """
    types = {column.name: column.type.compile(dialect) for column in table.columns}
    given = [f"${place}::{types[name]}" for place, name in enumerate(alike, start=2)]
    others = [name for name in types if name not in alike]
    # No injection: only names of our own tables and columns are interpolated.
    return (
        f"INSERT INTO {table.name} ({', '.join((*alike, *others))})"  # noqa: S608 - see above
        f" SELECT {', '.join((*given, *others))} FROM json_to_recordset($1)"
        f" AS came ({', '.join(f'{name} {types[name]}' for name in others)})"
    )
