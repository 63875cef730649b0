"""Lets events wait again that were settled: head office was restored from a backup, say."""

import sqlite3

from sqlalchemy import bindparam, delete, select
from sqlalchemy.dialects.sqlite import insert

from agent.store.db.cursor import SET_ERASED, SET_WATERMARK, is_central, open_standing
from agent.store.db.epochs import read_numbering
from agent.store.db.sql import compiled, constant
from agent.store.db.tables import Delivery, Settled, table_of

_settled = table_of(Settled)
_delivery = table_of(Delivery)
_covering = (
    select(_delivery.c.destination, bindparam("target"), _delivery.c.delivered_at_us)
    .where(
        _delivery.c.destination == is_central, _delivery.c.through_position > bindparam("target")
    )
    .order_by(_delivery.c.through_position)
    .limit(constant(1))
    .offset(constant(0))
)

UNSETTLE = compiled(
    delete(_settled).where(
        _settled.c.destination == is_central, _settled.c.position > bindparam("target")
    )
)
# The acknowledgement that went further was one of what lies below, too.
CUT_DELIVERY = compiled(
    insert(_delivery)
    .from_select(["destination", "through_position", "delivered_at_us"], _covering)
    .on_conflict_do_nothing()
)
FORGET_DELIVERIES = compiled(
    delete(_delivery).where(
        _delivery.c.destination == is_central,
        _delivery.c.through_position > bindparam("target"),
    )
)


def rewind(connection: sqlite3.Connection, epoch: str, expected_sequence: int) -> bool:
    """Let all from `expected_sequence` of `epoch` on wait again, as far as it is held.

    Returns whether anything waits now that did not; never for an epoch not known here, one of
    which nothing is held any more, or a number not given yet.
    """
    extent = read_numbering(connection).find(epoch)
    if extent is None or expected_sequence > extent.last_sequence:
        return False
    if extent.last_position <= open_standing(connection).purged_through:
        # Later epochs would be sent again for nothing, and at the next heartbeat once more.
        return False
    return rewind_to(connection, extent.base_position + max(expected_sequence, 1) - 1)


def rewind_to(connection: sqlite3.Connection, position: int) -> bool:
    """Let all above `position` wait again, as far as it is held; say whether any did not."""
    standing = open_standing(connection)
    target = max(position, standing.purged_through)
    unsettled = connection.execute(UNSETTLE.sql, (target,)).rowcount
    if target < standing.watermark:
        connection.execute(CUT_DELIVERY.sql, CUT_DELIVERY.row({"target": target}))
        connection.execute(FORGET_DELIVERIES.sql, (target,))
        connection.execute(SET_WATERMARK.sql, (target,))
    if target < standing.erased_through:
        # What had a time of its own, and its address still, goes with the others from now on.
        connection.execute(SET_ERASED.sql, (target,))
    return target < standing.watermark or unsettled > 0
