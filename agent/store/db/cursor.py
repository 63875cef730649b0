"""Where central stands: the one row about it, and how all others tell what is settled."""

import sqlite3
from dataclasses import dataclass

from sqlalchemy import ColumnElement, bindparam, func, select, update
from sqlalchemy.dialects.sqlite import insert

from agent.store.db.sql import Statement, compiled, constant
from agent.store.db.tables import Destination, table_of
from agent.store.files.storage_errors import SenselessRow

CENTRAL = "central"
is_central = constant(CENTRAL)
_destination = table_of(Destination)
_NUMBERS = (
    "watermark",
    "attempting_from",
    "attempting_through",
    "erased_through",
    "purged_through",
)

STANDING = compiled(
    select(*(_destination.c[name] for name in _NUMBERS)).where(_destination.c.name == is_central)
)
BEGIN = compiled(
    insert(_destination)
    .values({"name": is_central} | dict.fromkeys(_NUMBERS, constant(0)))
    .on_conflict_do_nothing()
    .inline()
)


def number_of_central(name: str) -> ColumnElement[int]:
    """Return the expression of a number of central's row; 0 where there is no row yet."""
    number = select(_destination.c[name]).where(_destination.c.name == is_central)
    return func.coalesce(number.scalar_subquery(), constant(0))


def setting(*names: str) -> Statement:
    """Return the statement that sets these numbers of central's row."""
    values: dict[str, object] = {name: bindparam(f"new_{name}") for name in names}
    return compiled(update(_destination).where(_destination.c.name == is_central).values(values))


SET_WATERMARK = setting("watermark")
SET_ERASED = setting("erased_through")


@dataclass(frozen=True, slots=True)
class Standing:
    """Central's numbers, all of them positions."""

    watermark: int = 0
    attempting_from: int = 0
    attempting_through: int = 0
    erased_through: int = 0
    purged_through: int = 0


def read_standing(connection: sqlite3.Connection) -> Standing:
    """Read where central stands; at the beginning of everything where nothing is noted yet."""
    row = connection.execute(STANDING.sql).fetchone()
    if row is None:
        return Standing()
    if None in row:
        raise SenselessRow("a number of the destination is null")
    return Standing(*row)


def open_standing(connection: sqlite3.Connection) -> Standing:
    """Read it to change it: there is a row afterwards."""
    connection.execute(BEGIN.sql)
    return read_standing(connection)
