"""Makes settled events pending again, for example after head office was restored from a backup."""

import sqlite3

from sqlalchemy import bindparam, delete, select
from sqlalchemy.dialects.sqlite import insert

from agent.store.db.cursor import SET_ERASED, SET_WATERMARK, ensure_cursor, is_central
from agent.store.db.epochs import read_epochs
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
# The acknowledgement of higher positions also covers the lower ones that remain.
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
    """Make all held events from `expected_sequence` of `epoch` on pending again.

    Returns True if any event became pending; False for an epoch unknown here or fully purged, or a
    number not issued yet.
    """
    extent = read_epochs(connection).find(epoch)
    if extent is None or expected_sequence > extent.last_sequence:
        return False
    if extent.last_position <= ensure_cursor(connection).purged_through:
        # Later epochs would be sent again in vain, at every heartbeat.
        return False
    return rewind_to(connection, extent.base_position + max(expected_sequence, 1) - 1)


def rewind_to(connection: sqlite3.Connection, position: int) -> bool:
    """Make all held events above `position` pending again; return True if any was settled."""
    standing = ensure_cursor(connection)
    target = max(position, standing.purged_through)
    unsettled = connection.execute(UNSETTLE.sql, (target,)).rowcount
    if target < standing.watermark:
        connection.execute(CUT_DELIVERY.sql, CUT_DELIVERY.row({"target": target}))
        connection.execute(FORGET_DELIVERIES.sql, (target,))
        connection.execute(SET_WATERMARK.sql, (target,))
    if target < standing.erased_through:
        # Individually settled events that still have their address are erased with the others.
        connection.execute(SET_ERASED.sql, (target,))
    return target < standing.watermark or unsettled > 0
