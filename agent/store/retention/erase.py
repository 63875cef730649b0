"""Erases the addresses of delivered events, in short transactions that delay no till.

SQLite overwrites the erased bytes with zeros (`secure_delete`).
"""

import sqlite3

from sqlalchemy import bindparam, exists, null, select, update

from agent.store.db.cursor import (
    DeliveryCursor,
    central_row,
    compile_update,
    is_central,
    read_cursor,
)
from agent.store.db.sql import NO_OFFSET, as_list, compiled, constant, listed
from agent.store.db.tables import ANSWER, DEAD_LETTER, SETTLED
from agent.store.retention.horizon import delivered_before

MAX_ADDRESSES = 200
_ANY_TIME_US = 2**63 - 1
_in_slice = (ANSWER.c.position > bindparam("above"), ANSWER.c.position <= bindparam("through"))
_is_settled_individually = exists().where(central_row(SETTLED, ANSWER.c.position))
_is_dead_letter = exists().where(central_row(DEAD_LETTER, ANSWER.c.position))

SET_ERASED = compile_update("erased_through")
NEXT_ANSWERS = compiled(
    select(ANSWER.c.position)
    .where(*_in_slice)
    .order_by(ANSWER.c.position)
    .limit(constant(MAX_ADDRESSES))
    .offset(NO_OFFSET)
)
ERASE_SLICE = compiled(
    update(ANSWER)
    .where(*_in_slice, ANSWER.c.address.is_not(None), ~_is_dead_letter, ~_is_settled_individually)
    .values(address=null())
)
SETTLED_INDIVIDUALLY = compiled(
    select(ANSWER.c.position)
    .select_from(SETTLED.join(ANSWER, ANSWER.c.position == SETTLED.c.position))
    .where(
        SETTLED.c.destination == is_central,
        SETTLED.c.delivered_at_us <= bindparam("cutoff_us"),
        ANSWER.c.address.is_not(None),
        ~_is_dead_letter,
    )
    .order_by(ANSWER.c.position)
    .limit(constant(MAX_ADDRESSES))
    .offset(NO_OFFSET)
)
ERASE_ADDRESSES = compiled(
    update(ANSWER)
    .where(ANSWER.c.position.in_(listed("positions")), _is_settled_individually, ~_is_dead_letter)
    .values(address=null())
)


def erase_below_watermark(connection: sqlite3.Connection, cutoff_us: int | None) -> bool:
    """Erase some addresses delivered before `cutoff_us` (None: any time).

    Returns True if more remain. A dead letter keeps its address until it is delivered or discarded.
    Events settled individually have their own delivery time (see `find_settled_individually`).
    """
    cursor = read_cursor(connection)
    above, bound = cursor.erased_through, _bound(connection, cursor, cutoff_us)
    if bound <= above:
        return False
    answers = NEXT_ANSWERS.column(connection, above=above, through=bound)
    through = answers[-1] if len(answers) == MAX_ADDRESSES else bound
    ERASE_SLICE.run(connection, above=above, through=through)
    SET_ERASED.run(connection, new_erased_through=through)
    return through < bound


def find_settled_individually(connection: sqlite3.Connection, cutoff_us: int | None) -> list[int]:
    """Return positions of addresses to erase among individually settled events. Read-only.

    One event without a verdict can hold the watermark back for days; addresses delivered after it
    are erased all the same. A dead letter delivered late is kept as long as any other event.
    """
    cutoff_us = _ANY_TIME_US if cutoff_us is None else cutoff_us
    return SETTLED_INDIVIDUALLY.column(connection, cutoff_us=cutoff_us)


def erase_addresses(connection: sqlite3.Connection, positions: list[int]) -> bool:
    """Erase the addresses at `positions` if still settled; return True if more may remain."""
    ERASE_ADDRESSES.run(connection, positions=as_list(positions))
    return len(positions) == MAX_ADDRESSES


def _bound(connection: sqlite3.Connection, cursor: DeliveryCursor, cutoff_us: int | None) -> int:
    if cutoff_us is None:
        return cursor.watermark
    return delivered_before(connection, cursor, cutoff_us, above=cursor.erased_through)
