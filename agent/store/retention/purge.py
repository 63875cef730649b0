"""Deletes events past their retention, a few rows at a time, so that no till has to wait.

Candidates are found on a read-only connection; the writer then deletes those that still qualify.
SQLite reuses the freed pages for new captures: the file does not shrink, and after the first weeks
does not grow.
"""

import sqlite3
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Table, bindparam, delete, exists, func, or_, select

from agent.store.db.cursor import (
    central_row,
    compile_update,
    cursor_column,
    is_central,
    read_cursor,
)
from agent.store.db.sql import NO_OFFSET, Statement, as_list, compiled, constant, listed
from agent.store.db.tables import ANSWER, DEAD_LETTER, DELIVERY, DOUBT, EVENT, SESSION, SETTLED
from agent.store.retention.horizon import delivered_before

# Each event is two rows: the event, and its session or answer.
MAX_EVENTS = 100
_earlier = DELIVERY.alias("earlier")

_has_answers = exists().where(ANSWER.c.session_position == EVENT.c.position)
_is_kept_dead_letter = exists().where(
    central_row(DEAD_LETTER, EVENT.c.position),
    or_(
        DEAD_LETTER.c.discarded_at_us.is_(None),
        DEAD_LETTER.c.discarded_at_us > bindparam("cutoff_us"),
    ),
)
_dead_answer = ANSWER.alias("dead_answer")
# On its retry the dead letter must see that it was overtaken.
_overtook_dead_letter = exists().where(
    DEAD_LETTER.c.destination == is_central,
    DEAD_LETTER.c.discarded_at_us.is_(None),
    DEAD_LETTER.c.position == _dead_answer.c.position,
    _dead_answer.c.session_position == EVENT.c.session_position,
    _dead_answer.c.position < EVENT.c.position,
)
_was_delivered_late = exists().where(
    central_row(SETTLED, EVENT.c.position), SETTLED.c.delivered_at_us > bindparam("cutoff_us")
)
_is_needed = or_(_has_answers, _is_kept_dead_letter, _overtook_dead_letter, _was_delivered_late)
_before = func.coalesce(
    select(func.max(_earlier.c.through_position))
    .where(
        _earlier.c.destination == is_central,
        _earlier.c.through_position < DELIVERY.c.through_position,
    )
    .correlate(DELIVERY)
    .scalar_subquery(),
    constant(0),
)
_holds_events = exists().where(
    EVENT.c.position > _before, EVENT.c.position <= DELIVERY.c.through_position
)

PURGEABLE_EVENTS = compiled(
    select(EVENT.c.position)
    .where(EVENT.c.position <= bindparam("bound"), ~_is_needed)
    .order_by(EVENT.c.position)
    .limit(constant(MAX_EVENTS))
    .offset(NO_OFFSET)
)
PURGEABLE_DELIVERIES = compiled(
    select(DELIVERY.c.through_position)
    .where(
        DELIVERY.c.destination == is_central,
        DELIVERY.c.through_position <= bindparam("bound"),
        ~_holds_events,
    )
    .order_by(DELIVERY.c.through_position)
    .limit(constant(MAX_EVENTS))
    .offset(NO_OFFSET)
)
REMOVE_EVENTS = compiled(
    delete(EVENT)
    .where(
        EVENT.c.position.in_(listed("positions")),
        EVENT.c.position <= cursor_column("watermark"),
        ~_is_needed,
    )
    .returning(EVENT.c.position)
)
SET_PURGED = compile_update("purged_through")


def _remove(column: ColumnElement[int], *also: ColumnElement[bool]) -> Statement:
    return compiled(delete(column.table).where(column.in_(listed("positions")), *also))


def _remove_of_central(table: Table) -> Statement:
    return _remove(table.c.position, table.c.destination == is_central)


BESIDE_EVENTS = (
    _remove(SESSION.c.position),
    _remove(ANSWER.c.position),
    _remove_of_central(DEAD_LETTER),
    _remove_of_central(SETTLED),
    _remove_of_central(DOUBT),
)
REMOVE_DELIVERIES = _remove(DELIVERY.c.through_position, DELIVERY.c.destination == is_central)


@dataclass(frozen=True, slots=True)
class Candidates:
    """Candidates: positions of events, and of acknowledgements that cover no event any more."""

    events: list[int]
    deliveries: list[int]


def find_purgeable(connection: sqlite3.Connection, cutoff_us: int) -> Candidates:
    """Return some events delivered before `cutoff_us`, lowest first. Read-only.

    A session stays as long as an answer to it; a dead letter until it was discarded or delivered
    before `cutoff_us`, and with it the later answers of its session.
    """
    cursor = read_cursor(connection)
    bound = delivered_before(connection, cursor, cutoff_us, above=cursor.purged_through)
    return Candidates(
        PURGEABLE_EVENTS.column(connection, bound=bound, cutoff_us=cutoff_us),
        PURGEABLE_DELIVERIES.column(connection, bound=bound),
    )


def purge(connection: sqlite3.Connection, candidates: Candidates, cutoff_us: int) -> bool:
    """Delete those of `candidates` that still qualify; return True if there were any."""
    events = as_list(candidates.events)
    purged = REMOVE_EVENTS.column(connection, positions=events, cutoff_us=cutoff_us)
    for statement in BESIDE_EVENTS:
        statement.run(connection, positions=as_list(purged))
    REMOVE_DELIVERIES.run(connection, positions=as_list(candidates.deliveries))
    highest = max([*purged, read_cursor(connection).purged_through])
    SET_PURGED.run(connection, new_purged_through=highest)
    return bool(purged or candidates.deliveries)
