"""Erases the addresses of delivered events, in short transactions that delay no till.

SQLite overwrites the erased bytes with zeros (`secure_delete`).
"""

import sqlite3

from sqlalchemy import bindparam, exists, null, select, update

from agent.store.db.cursor import SET_ERASED, DeliveryCursor, is_central, read_cursor
from agent.store.db.sql import as_list, compiled, constant, listed
from agent.store.db.tables import DeadLetter, EmailAnswer, Settled, table_of
from agent.store.retention.horizon import delivered_before

MOST_ROWS = 200
_answer = table_of(EmailAnswer)
_dead = table_of(DeadLetter)
_settled = table_of(Settled)
_ANY_TIME_US = 2**63 - 1
_in_slice = (
    _answer.c.position > bindparam("above"),
    _answer.c.position <= bindparam("through"),
)
_is_dead_letter = exists().where(
    _dead.c.destination == is_central, _dead.c.position == _answer.c.position
)

NEXT_ANSWERS = compiled(
    select(_answer.c.position)
    .where(*_in_slice)
    .order_by(_answer.c.position)
    .limit(constant(MOST_ROWS))
    .offset(constant(0))
)
_is_settled_apart = exists().where(
    _settled.c.destination == is_central, _settled.c.position == _answer.c.position
)
ERASE_SLICE = compiled(
    update(_answer)
    .where(*_in_slice, _answer.c.address.is_not(None), ~_is_dead_letter, ~_is_settled_apart)
    .values(address=null())
)
APART = compiled(
    select(_answer.c.position)
    .select_from(_settled.join(_answer, _answer.c.position == _settled.c.position))
    .where(
        _settled.c.destination == is_central,
        _settled.c.delivered_at_us <= bindparam("cutoff_us"),
        _answer.c.address.is_not(None),
        ~_is_dead_letter,
    )
    .order_by(_answer.c.position)
    .limit(constant(MOST_ROWS))
    .offset(constant(0))
)
ERASE_APART = compiled(
    update(_answer)
    .where(_answer.c.position.in_(listed("positions")), _is_settled_apart, ~_is_dead_letter)
    .values(address=null())
)


def erase_slice(connection: sqlite3.Connection, cutoff_us: int | None) -> bool:
    """Erase some addresses delivered before `cutoff_us` (None: any time).

    Returns True if more remain. A dead letter keeps its address until it is delivered or discarded.
    Events settled individually have their own delivery time (see `find_apart`).
    """
    standing = read_cursor(connection)
    above, bound = standing.erased_through, _bound(connection, standing, cutoff_us)
    if bound <= above:
        return False
    answers = connection.execute(NEXT_ANSWERS.sql, (above, bound)).fetchall()
    through = answers[-1][0] if len(answers) == MOST_ROWS else bound
    connection.execute(ERASE_SLICE.sql, (above, through))
    connection.execute(SET_ERASED.sql, (through,))
    return bool(through < bound)


def find_apart(connection: sqlite3.Connection, cutoff_us: int | None) -> list[int]:
    """Return positions of addresses to erase among individually settled events. Read-only.

    One event without a verdict can hold the watermark back for days; addresses delivered after it
    are erased all the same. A dead letter delivered late is kept as long as any other event.
    """
    cutoff_us = _ANY_TIME_US if cutoff_us is None else cutoff_us
    return [position for (position,) in connection.execute(APART.sql, (cutoff_us,))]


def erase_apart(connection: sqlite3.Connection, positions: list[int]) -> bool:
    """Erase the addresses at `positions` if still settled; return True if more may remain."""
    connection.execute(ERASE_APART.sql, (as_list(positions),))
    return len(positions) == MOST_ROWS


def _bound(connection: sqlite3.Connection, standing: DeliveryCursor, cutoff_us: int | None) -> int:
    if cutoff_us is None:
        return standing.watermark
    return delivered_before(connection, standing, cutoff_us, above=standing.erased_through)
