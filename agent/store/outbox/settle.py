"""Records delivery results: moves the watermark instead of writing a row for each event."""

import heapq
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass

from sqlalchemy import bindparam, delete, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from agent.store.db.cursor import SET_WATERMARK, ensure_cursor, is_central
from agent.store.db.sql import compiled
from agent.store.db.tables import Delivery, Settled, table_of
from agent.store.outbox.dead_letter_rows import keep_refused, take_off_delivered
from sync.delivery.outbox import EventResult
from sync.delivery.outcomes import Refused

_SECOND_US = 1_000_000
_settled = table_of(Settled)
_delivery = table_of(Delivery)
_kept = upsert(_settled).values(
    destination=is_central,
    position=bindparam("position"),
    delivered_at_us=bindparam("delivered_at_us"),
)

AHEAD = compiled(
    select(_settled.c.position)
    .where(_settled.c.destination == is_central, _settled.c.position > bindparam("watermark"))
    .order_by(_settled.c.position)
)
KEEP_SETTLED = compiled(
    _kept.on_conflict_do_update(
        index_elements=["destination", "position"],
        set_={"delivered_at_us": _kept.excluded.delivered_at_us},
    ).inline()
)
SWALLOW = compiled(
    delete(_settled).where(
        _settled.c.destination == is_central,
        _settled.c.position > bindparam("above"),
        _settled.c.position <= bindparam("through"),
    )
)
DELIVERED_THROUGH = compiled(
    select(_delivery.c.delivered_at_us).where(
        _delivery.c.destination == is_central, _delivery.c.through_position == bindparam("through")
    )
)
ADD_DELIVERY = compiled(
    insert(_delivery)
    .values(
        destination=is_central,
        through_position=bindparam("through"),
        delivered_at_us=bindparam("delivered_at_us"),
    )
    .inline()
)
EXTEND_DELIVERY = compiled(
    update(_delivery)
    .where(
        _delivery.c.destination == is_central, _delivery.c.through_position == bindparam("before")
    )
    .values(through_position=bindparam("through"))
)


@dataclass(frozen=True, slots=True)
class Judgement:
    """The time of central's verdicts, and the agent version that sent the events."""

    at_us: int
    agent_version: str


def settle(
    connection: sqlite3.Connection, judged: Sequence[EventResult], judgement: Judgement
) -> None:
    """Record the verdict of central on each of `judged`, at most some hundreds."""
    standing, at_us = ensure_cursor(connection), judgement.at_us
    verdicts = {one.event.position: one.verdict for one in judged}
    refused = {at: verdict for at, verdict in verdicts.items() if isinstance(verdict, Refused)}
    keep_refused(connection, refused, at_us, judgement.agent_version)
    delivered = verdicts.keys() - refused.keys()
    late = take_off_delivered(connection, sorted(delivered))
    watermark = _move_watermark(connection, standing.watermark, verdicts, at_us)
    # A dead letter that is delivered late has its own delivery time.
    apart = {position for position in verdicts if position > watermark}.union(late)
    connection.executemany(KEEP_SETTLED.sql, [(position, at_us) for position in sorted(apart)])


def _move_watermark(
    connection: sqlite3.Connection, before: int, positions: Iterable[int], at_us: int
) -> int:
    """Advance the watermark over all events settled without a gap; return the new one."""
    with closing(connection.execute(AHEAD.sql, (before,))) as rows:
        ahead = (position for (position,) in rows)
        watermark = _end_of_run(before, heapq.merge(sorted(positions), ahead))
    if watermark > before:
        connection.execute(SET_WATERMARK.sql, (watermark,))
        connection.execute(SWALLOW.sql, (before, watermark))
        _note_delivery(connection, before, watermark, at_us)
    return watermark


def _end_of_run(start: int, ascending: Iterable[int]) -> int:
    """Return the end of the run of consecutive numbers after `start`."""
    end = start
    for number in ascending:
        if number > end + 1:
            break
        end = max(end, number)
    return end


def _note_delivery(connection: sqlite3.Connection, before: int, through: int, at_us: int) -> None:
    """Record when the watermark advanced; within one second, extend the last row."""
    last = connection.execute(DELIVERED_THROUGH.sql, (before,)).fetchone()
    if last is not None and last[0] // _SECOND_US == at_us // _SECOND_US:
        values = {"before": before, "through": through}
        connection.execute(EXTEND_DELIVERY.sql, EXTEND_DELIVERY.row(values))
    else:
        values = {"through": through, "delivered_at_us": at_us}
        connection.execute(ADD_DELIVERY.sql, ADD_DELIVERY.row(values))
