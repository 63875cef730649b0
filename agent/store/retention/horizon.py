"""The position up to which everything was delivered before a time, for erasure and purge."""

import sqlite3

from sqlalchemy import bindparam, func, select

from agent.store.db.cursor import DeliveryCursor, is_central
from agent.store.db.sql import NO_OFFSET, compiled, constant
from agent.store.db.tables import DELIVERY

_of_central = DELIVERY.c.destination == is_central

FIRST_YOUNGER = compiled(
    select(DELIVERY.c.through_position)
    .where(
        _of_central,
        DELIVERY.c.through_position > bindparam("above"),
        DELIVERY.c.delivered_at_us > bindparam("cutoff_us"),
    )
    .order_by(DELIVERY.c.through_position)
    .limit(constant(1))
    .offset(NO_OFFSET)
)
LAST_BEFORE = compiled(
    select(func.coalesce(func.max(DELIVERY.c.through_position), constant(0))).where(
        _of_central, DELIVERY.c.through_position < bindparam("through")
    )
)


def delivered_before(
    connection: sqlite3.Connection, cursor: DeliveryCursor, cutoff_us: int, *, above: int
) -> int:
    """Return the highest P such that every event in (above, P] was delivered by `cutoff_us`.

    The first younger acknowledgement ends the range: if the clock was wrong for a while, in 1970
    for example, no event below it looks old.
    """
    younger = FIRST_YOUNGER.column(connection, above=above, cutoff_us=cutoff_us)
    if not younger:
        return cursor.watermark
    (before,) = LAST_BEFORE.column(connection, through=younger[0])
    return min(before, cursor.watermark)
