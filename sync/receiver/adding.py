"""Puts many rows into a table at once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Table, insert
from sqlalchemy.dialects import postgresql, sqlite

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
        sql, in_order = _adding_columns(table)
        columns = tuple(list(column) for column in zip(*map(in_order, rows), strict=True))
        connection.exec_driver_sql(sql, columns)


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
def _adding_columns(table: Table) -> tuple[str, Callable[[Row], tuple[Any, ...]]]:
    """Return an insert of whole columns, an array each, and what puts a row in their order."""
    names, dialect = list(table.c.keys()), postgresql.dialect()  # type: ignore[no-untyped-call] # the library's
    kinds = (column.type.compile(dialect) for column in table.c)
    arrays = ", ".join(f"${place}::{kind}[]" for place, kind in enumerate(kinds, 1))
    # Nothing in it comes from outside: the names are those of our own tables.
    sql = f"INSERT INTO {table.name} ({', '.join(names)}) SELECT * FROM unnest({arrays})"  # noqa: S608 - see above
    return sql, itemgetter(*names)
