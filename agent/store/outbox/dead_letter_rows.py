"""Adds and removes dead letters as central rejects and accepts events.

Also restores a dead letter when central, reset to an older state, rejects an event again that it
had accepted.
"""

import sqlite3
from collections.abc import Mapping, Sequence

from sqlalchemy import bindparam, delete, exists, null, or_, select, update
from sqlalchemy.dialects.sqlite import insert

from agent.store.db.cursor import cursor_column, is_central
from agent.store.db.sql import as_list, compiled, constant, listed
from agent.store.db.tables import DeadLetter, EmailAnswer, Event, Settled, table_of
from sync.delivery.outcomes import Refused

_dead = table_of(DeadLetter)
_answer = table_of(EmailAnswer)
_event = table_of(Event)
_settled = table_of(Settled)
_listed = listed("positions")
_SAID = ("error_code", "error_message", "http_status", "refused_at_us", "agent_version")
_refused = insert(_dead).values(
    {name: bindparam(name) for name in ("position", *_SAID)}
    | {
        "destination": is_central,
        "attempts": constant(1),
        "retry_wanted": constant(0),
        "discarded_at_us": null(),
    }
)

KEEP_REFUSED = compiled(
    _refused.on_conflict_do_update(
        index_elements=["destination", "position"],
        set_={name: _refused.excluded[name] for name in (*_SAID, "retry_wanted")}
        | {"attempts": _dead.c.attempts + constant(1)},
    ).inline()
)
TAKE_OFF = compiled(
    delete(_dead)
    .where(_dead.c.destination == is_central, _dead.c.position.in_(_listed))
    .returning(_dead.c.position)
)
WANT_ANSWERS = compiled(
    update(_dead)
    .where(
        _dead.c.destination == is_central,
        _dead.c.discarded_at_us.is_(None),
        _dead.c.position.in_(
            select(_answer.c.position).where(_answer.c.session_position.in_(_listed))
        ),
    )
    .values(retry_wanted=constant(1))
)
ERASE = compiled(
    update(_answer)
    .where(
        _answer.c.position.in_(_listed),
        _answer.c.address.is_not(None),
    )
    .values(address=null())
)
_is_delivered = (
    _event.c.position.in_(_listed),
    or_(
        _event.c.position <= cursor_column("watermark"),
        exists().where(
            _settled.c.destination == is_central, _settled.c.position == _event.c.position
        ),
    ),
    ~exists().where(_dead.c.destination == is_central, _dead.c.position == _event.c.position),
)
DELIVERED = compiled(select(_event.c.position).where(*_is_delivered).order_by(_event.c.position))
TAKE_BACK = compiled(
    insert(_dead).from_select(
        ["destination", "position", *_SAID, "attempts", "retry_wanted"],
        select(
            is_central,
            _event.c.position,
            bindparam("error_code"),
            bindparam("error_message"),
            null(),
            bindparam("refused_at_us"),
            bindparam("agent_version"),
            constant(1),
            constant(1),
        ).where(*_is_delivered),
    )
)
STANDS_REFUSED = Refused(
    "STANDS_REFUSED", "head office fell back to where this was refused, and is asked again", None
)


def keep_refused(
    connection: sqlite3.Connection,
    refused: Mapping[int, Refused],
    at_us: int,
    agent_version: str,
) -> None:
    """Store the reason of each rejection by position; a repeated one adds an attempt."""
    rows = [
        KEEP_REFUSED.row(
            {
                "position": position,
                "error_code": verdict.error_code,
                "error_message": verdict.error_message,
                "http_status": verdict.http_status,
                "refused_at_us": at_us,
                "agent_version": agent_version,
            }
        )
        for position, verdict in refused.items()
    ]
    connection.executemany(KEEP_REFUSED.sql, rows)


def take_off_delivered(connection: sqlite3.Connection, delivered: Sequence[int]) -> list[int]:
    """Remove the dead letters among `delivered`, and return their positions.

    The rejected answers of a session among them are marked for retry.
    """
    rows = connection.execute(TAKE_OFF.sql, (as_list(delivered),)).fetchall()
    late = [position for (position,) in rows]
    if late:
        want_answers(connection, late)
    return late


def find_delivered(connection: sqlite3.Connection, positions: Sequence[int]) -> list[int]:
    """Return those of `positions` that are held and delivered, as far as known here. Read-only."""
    rows = connection.execute(DELIVERED.sql, (as_list(positions),))
    return [position for (position,) in rows]


def take_back(
    connection: sqlite3.Connection, positions: Sequence[int], at_us: int, agent_version: str
) -> int:
    """Make those of `positions` that are delivered dead letters to retry; return how many.

    A pending event is skipped: it is sent in its turn. So is a dead letter: its operator decides.
    """
    values = {
        "error_code": STANDS_REFUSED.error_code,
        "error_message": STANDS_REFUSED.error_message,
        "refused_at_us": at_us,
        "agent_version": agent_version,
        "positions": as_list(positions),
    }
    return connection.execute(TAKE_BACK.sql, TAKE_BACK.row(values)).rowcount


def want_answers(connection: sqlite3.Connection, sessions: Sequence[int]) -> None:
    """Mark the rejected answers of `sessions` for retry, for any rejection reason.

    A loyalty API has error codes of its own for an answer whose session is unknown.
    """
    connection.execute(WANT_ANSWERS.sql, (as_list(sessions),))


def erase_at(connection: sqlite3.Connection, positions: Sequence[int]) -> None:
    """Erase the addresses of the answers at `positions`."""
    connection.execute(ERASE.sql, (as_list(positions),))
