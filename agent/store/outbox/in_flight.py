"""Records events in flight: after a crash they are known to be possibly delivered."""

import sqlite3
from collections.abc import Iterable, Sequence

from sqlalchemy import ColumnElement, and_, bindparam, delete, exists, select
from sqlalchemy.dialects.sqlite import insert

from agent.store.db.cursor import central_row, compile_update, ensure_cursor, is_central
from agent.store.db.sql import Statement, as_list, compiled, listed
from agent.store.db.tables import DEAD_LETTER, DOUBT, EVENT, SETTLED

_listed = listed("positions")
_is_settled = exists().where(central_row(SETTLED, EVENT.c.position))
_is_pending = and_(
    EVENT.c.position > bindparam("watermark"),
    EVENT.c.position >= bindparam("first"),
    EVENT.c.position <= bindparam("last"),
    ~_is_settled,
)


def _add_doubt_where(condition: ColumnElement[bool]) -> Statement:
    events = select(is_central, EVENT.c.position).where(condition)
    add = insert(DOUBT).from_select(["destination", "position"], events)
    return compiled(add.on_conflict_do_nothing())


ADD_DOUBT = _add_doubt_where(EVENT.c.position.in_(_listed))
KEEP_DOUBT = _add_doubt_where(_is_pending)
REMOVE_DOUBT = compiled(
    delete(DOUBT).where(DOUBT.c.destination == is_central, DOUBT.c.position.in_(_listed))
)
DEAD_LETTERS_AMONG = compiled(
    select(DEAD_LETTER.c.position).where(
        DEAD_LETTER.c.destination == is_central, DEAD_LETTER.c.position.in_(_listed)
    )
)
SET_RANGE = compile_update("attempting_from", "attempting_through")


def record_attempt(connection: sqlite3.Connection, positions: Sequence[int]) -> None:
    """Record that the events at `positions`, ascending, are in flight.

    For pending events a range of two numbers is enough. Dead letters being retried lie between
    others that are not, and are recorded one by one.
    """
    cursor = ensure_cursor(connection)
    if cursor.attempting_through:
        # No result of the attempt before arrived: its events are possibly delivered.
        KEEP_DOUBT.run(
            connection,
            watermark=cursor.watermark,
            first=cursor.attempting_from,
            last=cursor.attempting_through,
        )
    retried = set(DEAD_LETTERS_AMONG.column(connection, positions=as_list(positions)))
    add_doubt(connection, retried)
    pending = [position for position in positions if position not in retried]
    _set_range(connection, *((pending[0], pending[-1]) if pending else (0, 0)))


def end_attempt(
    connection: sqlite3.Connection, resolved: Iterable[int], doubtful: Iterable[int]
) -> None:
    """Mark `doubtful` events as possibly delivered; clear the mark of those in `resolved`.

    An event that was doubtful before the attempt and was not sent is in neither, and keeps its
    mark.
    """
    REMOVE_DOUBT.run(connection, positions=as_list(resolved))
    add_doubt(connection, doubtful)
    if ensure_cursor(connection).attempting_through:
        _set_range(connection, 0, 0)


def add_doubt(connection: sqlite3.Connection, positions: Iterable[int]) -> None:
    """Mark the events at `positions` as possibly delivered."""
    ADD_DOUBT.run(connection, positions=as_list(positions))


def _set_range(connection: sqlite3.Connection, first: int, last: int) -> None:
    SET_RANGE.run(connection, new_attempting_from=first, new_attempting_through=last)
