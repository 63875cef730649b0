"""Bulk insert."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from operator import itemgetter
from types import MappingProxyType

import msgspec
from sqlalchemy import Connection, Dialect, Table

from sync.protocol.rfc3339 import to_rfc3339
from sync.receiver.db.columns import UtcTimestamp

Row = Mapping[str, object]
Values = tuple[object, ...]
_NO_COLUMNS: Row = MappingProxyType({})


def insert_rows(
    connection: Connection, table: Table, rows: Sequence[Row], common: Row = _NO_COLUMNS
) -> None:
    """Insert `rows`. `common` holds the columns that have the same value in every row."""
    if rows:
        names = tuple(rows[0])
        insert_values(connection, table, names, list(map(itemgetter(*names), rows)), common)


def insert_values(
    connection: Connection,
    table: Table,
    names: tuple[str, ...],
    rows: Sequence[Values],
    common: Row = _NO_COLUMNS,
) -> None:
    """Insert `rows`, which have the values of the columns `names`: at least two."""
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        # By the driver: bypassing SQLAlchemy costs a third per row.
        statement = _positional_insert(table, (*names, *common))
        connection.exec_driver_sql(statement, list(_for_sqlite(table, names, rows, common)))
    else:
        encoded = msgspec.json.encode([dict(zip(names, row, strict=True)) for row in rows]).decode()
        statement = _json_insert(table, names, tuple(common), connection.dialect)
        connection.exec_driver_sql(statement, (encoded, *common.values()))


def _for_sqlite(
    table: Table, names: tuple[str, ...], rows: Sequence[Values], common: Row
) -> Iterator[Values]:
    """Yield the rows with the common values and with timestamps as SQLite has them."""
    (same,) = _with_texts([tuple(common.values())], _timestamps(table, tuple(common)))
    for row in _with_texts(rows, _timestamps(table, names)):
        yield row + same


def _with_texts(rows: Sequence[Values], timestamps: Sequence[int]) -> Iterator[Values]:
    for row in rows:
        values = list(row)
        last = text = None
        for index in timestamps:
            at = values[index]
            # Mostly an event's corrected time is the till's.
            if at is not last:
                # The column's type: a time or None.
                last, text = at, at and to_rfc3339(at)  # type: ignore[arg-type] # see above
            values[index] = text
        yield tuple(values)


@cache
def _timestamps(table: Table, names: tuple[str, ...]) -> Sequence[int]:
    return [at for at, name in enumerate(names) if isinstance(table.c[name].type, UtcTimestamp)]


@cache
def _positional_insert(table: Table, names: tuple[str, ...]) -> str:
    # No injection: only names of our own tables and columns are interpolated.
    places = ", ".join("?" * len(names))
    return f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({places})"  # noqa: S608 - see above


@cache
def _json_insert(
    table: Table, names: tuple[str, ...], common: tuple[str, ...], dialect: Dialect
) -> str:
    """Return an insert of rows that are bound as one JSON array of objects, keyed by column.

    One JSON parameter, because asyncpg encodes arrays in Python, member by member: arrays and
    COPY both cost the receiver more than twice as much. Columns `common` in all rows are bound
    once, to encode and parse them once.
    """
    types = {column.name: column.type.compile(dialect) for column in table.columns}
    given = [f"${number}::{types[name]}" for number, name in enumerate(common, start=2)]
    # No injection: see above.
    return (
        f"INSERT INTO {table.name} ({', '.join((*common, *names))})"  # noqa: S608 - see above
        f" SELECT {', '.join((*given, *names))} FROM json_to_recordset($1)"
        f" AS inserted ({', '.join(f'{name} {types[name]}' for name in names)})"
    )
