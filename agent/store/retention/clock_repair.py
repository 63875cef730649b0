"""Repairs impossible delivery times, written while the clock was wrong.

An event delivered "in 2099" would be kept until then; one delivered "in 1970" would be purged at
once. Both times are replaced by the time of the repair.
"""

import sqlite3

from sqlalchemy import Column, and_, bindparam, or_, select, union_all, update

from agent.store.db.cursor import is_central
from agent.store.db.sql import compiled, constant
from agent.store.db.tables import DeadLetter, Delivery, Settled, table_of

# 2025, before this program existed. A clock that reads less is wrong itself and repairs nothing.
EARLIEST_US = 1_735_689_600_000_000
_earliest = constant(EARLIEST_US)
_TIMES: tuple[Column[int], ...] = (
    table_of(Delivery).c.delivered_at_us,
    table_of(Settled).c.delivered_at_us,
    table_of(DeadLetter).c.discarded_at_us,
)
_impossible = [
    (
        time,
        and_(
            time.table.c.destination == is_central,
            or_(time > bindparam("now_us"), time < _earliest),
        ),
    )
    for time in _TIMES
]

FIRST_IMPOSSIBLE = compiled(
    union_all(*(select(time).where(condition) for time, condition in _impossible))
    .limit(constant(1))
    .offset(constant(0))
)
MEND = tuple(
    compiled(update(time.table).where(condition).values({time: bindparam("now_us")}))
    for time, condition in _impossible
)


def needs_mending(connection: sqlite3.Connection, now_us: int) -> bool:
    """Return whether there is an impossible time. Read-only."""
    if now_us < EARLIEST_US:
        return False
    values = dict.fromkeys(FIRST_IMPOSSIBLE.names, now_us)
    return (
        connection.execute(FIRST_IMPOSSIBLE.sql, FIRST_IMPOSSIBLE.row(values)).fetchone()
        is not None
    )


def mend_times(connection: sqlite3.Connection, now_us: int) -> None:
    """Replace every impossible time by `now_us`."""
    for statement in MEND:
        connection.execute(statement.sql, statement.row({"now_us": now_us}))
