"""Records events in flight: after a crash they are known to be possibly delivered."""

import sqlite3
from collections.abc import Iterable, Sequence

from sqlalchemy import and_, bindparam, delete, exists, select
from sqlalchemy.dialects.sqlite import insert

from agent.store.db.cursor import DeliveryCursor, ensure_cursor, is_central, setting
from agent.store.db.sql import as_list, compiled, listed
from agent.store.db.tables import DeadLetter, Doubt, Event, Settled, table_of

_doubt = table_of(Doubt)
_event = table_of(Event)
_settled = table_of(Settled)
_dead = table_of(DeadLetter)
_listed = listed("positions")
_is_settled = exists().where(
    _settled.c.destination == is_central, _settled.c.position == _event.c.position
)
_still_waits = and_(
    _event.c.position > bindparam("watermark"),
    _event.c.position >= bindparam("first"),
    _event.c.position <= bindparam("last"),
    ~_is_settled,
)

ADD_DOUBT = compiled(
    insert(_doubt)
    .from_select(
        ["destination", "position"],
        select(is_central, _event.c.position).where(_event.c.position.in_(_listed)),
    )
    .on_conflict_do_nothing()
)
KEEP_DOUBT = compiled(
    insert(_doubt)
    .from_select(
        ["destination", "position"], select(is_central, _event.c.position).where(_still_waits)
    )
    .on_conflict_do_nothing()
)
END_DOUBT = compiled(
    delete(_doubt).where(_doubt.c.destination == is_central, _doubt.c.position.in_(_listed))
)
DEAD_OF = compiled(
    select(_dead.c.position).where(_dead.c.destination == is_central, _dead.c.position.in_(_listed))
)
SET_ATTEMPT = setting("attempting_from", "attempting_through")


def record_attempt(connection: sqlite3.Connection, positions: Sequence[int]) -> None:
    """Record that the events at `positions`, ascending, are in flight.

    For pending events a range of two numbers is enough. Dead letters being retried lie between
    others that are not, and are recorded one by one.
    """
    standing = ensure_cursor(connection)
    keep_unsettled_attempt(connection, standing)
    rows = connection.execute(DEAD_OF.sql, (as_list(positions),)).fetchall()
    again = {position for (position,) in rows}
    add_doubt(connection, again)
    waiting = [position for position in positions if position not in again]
    _set_attempt(connection, *((waiting[0], waiting[-1]) if waiting else (0, 0)))


def keep_unsettled_attempt(connection: sqlite3.Connection, standing: DeliveryCursor) -> None:
    """Mark the unsettled events of an earlier attempt as possibly delivered: no result arrived."""
    if standing.attempting_through:
        values = {
            "watermark": standing.watermark,
            "first": standing.attempting_from,
            "last": standing.attempting_through,
        }
        connection.execute(KEEP_DOUBT.sql, KEEP_DOUBT.row(values))


def end_attempt(
    connection: sqlite3.Connection, sure: Iterable[int], doubtful: Iterable[int]
) -> None:
    """Mark `doubtful` events as possibly delivered; clear the mark of those in `sure`.

    An event that was doubtful before the attempt and was not sent is in neither, and keeps its
    mark.
    """
    connection.execute(END_DOUBT.sql, (as_list(sure),))
    add_doubt(connection, doubtful)
    if ensure_cursor(connection).attempting_through:
        _set_attempt(connection, 0, 0)


def add_doubt(connection: sqlite3.Connection, positions: Iterable[int]) -> None:
    """Mark the events at `positions` as possibly delivered."""
    connection.execute(ADD_DOUBT.sql, (as_list(positions),))


def _set_attempt(connection: sqlite3.Connection, first: int, last: int) -> None:
    values = {"new_attempting_from": first, "new_attempting_through": last}
    connection.execute(SET_ATTEMPT.sql, SET_ATTEMPT.row(values))
