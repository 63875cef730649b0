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
    values = {"above": above, "cutoff_us": cutoff_us}
    row = connection.execute(FIRST_YOUNGER.sql, FIRST_YOUNGER.row(values)).fetchone()
    if row is None:
        return cursor.watermark
    ((before,),) = connection.execute(LAST_BEFORE.sql, row)
    return min(int(before), cursor.watermark)
