"""The delivery cursor: one row of positions that defines which events are settled."""

import sqlite3
from typing import NamedTuple

from sqlalchemy import ColumnElement, FromClause, and_, bindparam, func, select, update
from sqlalchemy.dialects.sqlite import insert

from agent.store.db.rows import checked
from agent.store.db.sql import Statement, compiled, constant
from agent.store.db.tables import DESTINATION

CENTRAL = "central"
is_central = constant(CENTRAL)
_COLUMNS = (
    "watermark",
    "attempting_from",
    "attempting_through",
    "erased_through",
    "purged_through",
)

READ_CURSOR = compiled(
    select(*(DESTINATION.c[name] for name in _COLUMNS)).where(DESTINATION.c.name == is_central)
)
ADD_CURSOR = compiled(
    insert(DESTINATION)
    .values({"name": is_central} | dict.fromkeys(_COLUMNS, constant(0)))
    .on_conflict_do_nothing()
    .inline()
)


def cursor_column(name: str) -> ColumnElement[int]:
    """Return an SQL expression for a column of the cursor; 0 if there is no row yet."""
    value = select(DESTINATION.c[name]).where(DESTINATION.c.name == is_central)
    return func.coalesce(value.scalar_subquery(), constant(0))


def central_row(table: FromClause, position: ColumnElement[int]) -> ColumnElement[bool]:
    """Return the condition for the row of `table` that is central's, at `position`."""
    return and_(table.c.destination == is_central, table.c.position == position)


def compile_update(*names: str) -> Statement:
    """Return the statement that sets these columns of the cursor."""
    values: dict[str, object] = {name: bindparam(f"new_{name}") for name in names}
    return compiled(update(DESTINATION).where(DESTINATION.c.name == is_central).values(values))


class DeliveryCursor(NamedTuple):
    """The delivery cursor of central; all values are positions."""

    watermark: int = 0
    attempting_from: int = 0
    attempting_through: int = 0
    erased_through: int = 0
    purged_through: int = 0


def read_cursor(connection: sqlite3.Connection) -> DeliveryCursor:
    """Read the cursor; all zeros if there is no row yet."""
    row = READ_CURSOR.run(connection).fetchone()
    return DeliveryCursor() if row is None else checked(row, DeliveryCursor)


def ensure_cursor(connection: sqlite3.Connection) -> DeliveryCursor:
    """Read the cursor for an update, inserting its row if missing."""
    ADD_CURSOR.run(connection)
    return read_cursor(connection)
