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
_NO_COLUMNS: Row = MappingProxyType({})


def insert_rows(
    connection: Connection, table: Table, rows: Sequence[Row], common: Row = _NO_COLUMNS
) -> None:
    """Insert `rows`. `common` holds the columns that have the same value in every row."""
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        bound = _bound_insert(table)
        connection.exec_driver_sql(bound.sql, [bound.values({**common, **row}) for row in rows])
    else:
        encoded = msgspec.json.encode(rows).decode()
        statement = _json_insert(table, tuple(common), connection.dialect)
        connection.exec_driver_sql(statement, (encoded, *common.values()))


@dataclass(frozen=True, slots=True)
class _BoundInsert:
    """A compiled insert for the driver: bypassing SQLAlchemy costs a third per row."""

    sql: str
    pick: Callable[[Row], tuple[Any, ...]]
    timestamps: tuple[int, ...]

    def values(self, row: Row) -> tuple[object, ...]:
        values: list[object] = list(self.pick(row))
        for index in self.timestamps:
            if (value := values[index]) is not None:
                values[index] = to_rfc3339(value)  # type: ignore[arg-type] # the column's type
        return tuple(values)


@cache
def _bound_insert(table: Table) -> _BoundInsert:
    compiled = insert(table).compile(dialect=sqlite.dialect(paramstyle="qmark"))
    names: tuple[str, ...] = tuple(getattr(compiled, "positiontup", None) or ())
    timestamps = (
        index for index, name in enumerate(names) if isinstance(table.c[name].type, UtcTimestamp)
    )
    return _BoundInsert(str(compiled), itemgetter(*names), tuple(timestamps))


@cache
def _json_insert(table: Table, common: tuple[str, ...], dialect: Dialect) -> str:
    """Return an insert of rows that are bound as one JSON array of objects, keyed by column.

    One JSON parameter, because asyncpg encodes arrays in Python, member by member: arrays and
    COPY both cost the receiver more than twice as much. Columns `common` in all rows are bound
    once, to encode and parse them once.
    """
    types = {column.name: column.type.compile(dialect) for column in table.columns}
    given = [f"${number}::{types[name]}" for number, name in enumerate(common, start=2)]
    others = [name for name in types if name not in common]
    # No injection: only names of our own tables and columns are interpolated.
    return (
        f"INSERT INTO {table.name} ({', '.join((*common, *others))})"  # noqa: S608 - see above
        f" SELECT {', '.join((*given, *others))} FROM json_to_recordset($1)"
        f" AS inserted ({', '.join(f'{name} {types[name]}' for name in others)})"
    )
