"""Records delivery results: moves the watermark instead of writing a row for each event.

A rejected event becomes a dead letter; an event accepted after all ceases to be one.
"""

import heapq
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing

from sqlalchemy import bindparam, delete, insert, null, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from agent.store.db.cursor import CENTRAL, compile_update, ensure_cursor, is_central
from agent.store.db.sql import as_list, compiled, constant, listed
from agent.store.db.tables import ANSWER, DEAD_LETTER, DELIVERY, SETTLED
from sync.delivery.outbox import EventResult
from sync.delivery.outcomes import Refused

_SECOND_US = 1_000_000
_listed = listed("positions")

SET_WATERMARK = compile_update("watermark")
AHEAD = compiled(
    select(SETTLED.c.position)
    .where(SETTLED.c.destination == is_central, SETTLED.c.position > bindparam("watermark"))
    .order_by(SETTLED.c.position)
)
ADD_SETTLED = compiled(insert(SETTLED).prefix_with("OR REPLACE"))
REMOVE_SETTLED = compiled(
    delete(SETTLED).where(
        SETTLED.c.destination == is_central,
        SETTLED.c.position > bindparam("above"),
        SETTLED.c.position <= bindparam("through"),
    )
)
DELIVERED_THROUGH = compiled(
    select(DELIVERY.c.delivered_at_us).where(
        DELIVERY.c.destination == is_central, DELIVERY.c.through_position == bindparam("through")
    )
)
ADD_DELIVERY = compiled(insert(DELIVERY))
EXTEND_DELIVERY = compiled(
    update(DELIVERY)
    .where(DELIVERY.c.destination == is_central, DELIVERY.c.through_position == bindparam("before"))
    .values(through_position=bindparam("through"))
)


_REJECTION = ("error_code", "error_message", "http_status", "refused_at_us", "agent_version")
_rejected = upsert(DEAD_LETTER).values(
    {name: bindparam(name) for name in ("position", *_REJECTION)}
    | {
        "destination": is_central,
        "attempts": constant(1),
        "retry_wanted": constant(0),
        "discarded_at_us": null(),
    }
)
ADD_DEAD_LETTER = compiled(
    _rejected.on_conflict_do_update(
        index_elements=["destination", "position"],
        set_={name: _rejected.excluded[name] for name in (*_REJECTION, "retry_wanted")}
        | {"attempts": DEAD_LETTER.c.attempts + constant(1)},
    ).inline()
)
REMOVE_DEAD_LETTERS = compiled(
    delete(DEAD_LETTER)
    .where(DEAD_LETTER.c.destination == is_central, DEAD_LETTER.c.position.in_(_listed))
    .returning(DEAD_LETTER.c.position)
)
RETRY_ANSWERS = compiled(
    update(DEAD_LETTER)
    .where(
        DEAD_LETTER.c.destination == is_central,
        DEAD_LETTER.c.discarded_at_us.is_(None),
        DEAD_LETTER.c.position.in_(
            select(ANSWER.c.position).where(ANSWER.c.session_position.in_(_listed))
        ),
    )
    .values(retry_wanted=constant(1))
)


def settle(
    connection: sqlite3.Connection, results: Sequence[EventResult], at_us: int, agent_version: str
) -> None:
    """Record `results`, at most some hundreds, of events sent by `agent_version`."""
    cursor = ensure_cursor(connection)
    verdicts = {one.event.position: one.verdict for one in results}
    rejected = {at: verdict for at, verdict in verdicts.items() if isinstance(verdict, Refused)}
    _add_dead_letters(connection, rejected, at_us, agent_version)
    late = _remove_dead_letters(connection, sorted(verdicts.keys() - rejected.keys()))
    watermark = _advance_watermark(connection, cursor.watermark, verdicts, at_us)
    # A dead letter that is delivered late has its own delivery time.
    individually = {position for position in verdicts if position > watermark}.union(late)
    rows = [(CENTRAL, position, at_us) for position in sorted(individually)]
    connection.executemany(ADD_SETTLED.sql, rows)


def retry_answers(connection: sqlite3.Connection, sessions: Sequence[int]) -> None:
    """Mark the rejected answers of `sessions` for retry, for any rejection reason.

    A loyalty API has error codes of its own for an answer whose session is unknown.
    """
    RETRY_ANSWERS.run(connection, positions=as_list(sessions))


def _add_dead_letters(
    connection: sqlite3.Connection, rejected: Mapping[int, Refused], at_us: int, agent_version: str
) -> None:
    """Store the reason of each rejection by position; a repeated one adds an attempt."""
    rows = [
        ADD_DEAD_LETTER.row(
            {
                "position": position,
                "error_code": verdict.error_code,
                "error_message": verdict.error_message,
                "http_status": verdict.http_status,
                "refused_at_us": at_us,
                "agent_version": agent_version,
            }
        )
        for position, verdict in rejected.items()
    ]
    connection.executemany(ADD_DEAD_LETTER.sql, rows)


def _remove_dead_letters(connection: sqlite3.Connection, delivered: Sequence[int]) -> list[int]:
    """Remove the dead letters among `delivered`, and return their positions.

    The rejected answers of a session among them are marked for retry.
    """
    late = REMOVE_DEAD_LETTERS.column(connection, positions=as_list(delivered))
    if late:
        retry_answers(connection, late)
    return late


def _advance_watermark(
    connection: sqlite3.Connection, before: int, positions: Iterable[int], at_us: int
) -> int:
    """Advance the watermark over all events settled without a gap; return the new one."""
    with closing(AHEAD.run(connection, watermark=before)) as rows:
        ahead = (position for (position,) in rows)
        watermark = _end_of_run(before, heapq.merge(sorted(positions), ahead))
    if watermark > before:
        SET_WATERMARK.run(connection, new_watermark=watermark)
        REMOVE_SETTLED.run(connection, above=before, through=watermark)
        _add_delivery(connection, before, watermark, at_us)
    return watermark


def _end_of_run(start: int, ascending: Iterable[int]) -> int:
    """Return the end of the run of consecutive numbers after `start`."""
    end = start
    for number in ascending:
        if number > end + 1:
            break
        end = max(end, number)
    return end


def _add_delivery(connection: sqlite3.Connection, before: int, through: int, at_us: int) -> None:
    """Record when the watermark advanced; within one second, extend the last row."""
    last = DELIVERED_THROUGH.column(connection, through=before)
    if last and last[0] // _SECOND_US == at_us // _SECOND_US:
        EXTEND_DELIVERY.run(connection, before=before, through=through)
    else:
        ADD_DELIVERY.run(
            connection, destination=CENTRAL, through_position=through, delivered_at_us=at_us
        )
