"""The conditions of tills, and durations, in the SQL of either database.

`last` are the tills with the columns of their latest heartbeat.
"""

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import func
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from sync.receiver.db.tables import agents
from sync.receiver.ingest.epochs.shared_name import FORGOTTEN_AFTER, MIN_RETURNS
from sync.receiver.reports.conditions import (
    BEHIND_AFTER,
    CLOCK_WRONG_BEYOND,
    CLOSED_LONG_AFTER,
    DISK_LOW_BELOW_BYTES,
    EPOCHS_REFUSED_WITHIN,
    SILENT_AFTER,
    Condition,
)


def conditions_of(
    last: sa.Subquery, now: datetime, own_version: str
) -> dict[Condition, sa.ColumnElement[bool]]:
    """Return the SQL of each condition. A till's clock is compared only with itself."""
    ahead = SecondsBetween(last.c.heartbeat_at, last.c.agent_sent_at)
    contact, closed_at = last.c.last_seen_at, last.c.closed_at
    is_open, is_closed = closed_at.is_(None), closed_at.is_not(None)
    # By our numbers: a till does not know of a delivered batch if its answer was lost.
    holds_some = last.c.is_any_missing + func.coalesce(last.c.salvage_pending, 0) > 0
    is_long = closed_at < now - CLOSED_LONG_AFTER
    return {
        Condition.SILENT: sa.and_(
            is_open, sa.or_(contact < now - SILENT_AFTER, contact > now + CLOCK_WRONG_BEYOND)
        ),
        Condition.CLOSED_WAITING: sa.and_(is_closed, holds_some),
        Condition.CLOSED_LONG: is_long,
        Condition.CLOSED: sa.and_(is_closed, sa.not_(is_long), sa.not_(holds_some)),
        Condition.NOT_INSTALLED: contact.is_(None),
        Condition.DEAD_LETTERS: last.c.dead_letters > 0,
        Condition.SHARED_NAME: is_shared(last, now),
        Condition.UNCONFIRMED: last.c.unconfirmed_epochs > 0,
        Condition.TOO_MANY_EPOCHS: _is_within(last.c.epochs_refused_at, EPOCHS_REFUSED_WITHIN, now),
        Condition.DISK_LOW: last.c.free_bytes < DISK_LOW_BELOW_BYTES,
        Condition.CLOCK_WRONG: func.abs(ahead) > CLOCK_WRONG_BEYOND.total_seconds(),
        Condition.BEHIND: sa.and_(
            is_open,
            last.c.outstanding > 0,
            _oldest_seconds(last, now) > BEHIND_AFTER.total_seconds(),
        ),
        Condition.OTHER_VERSION: last.c.agent_version != own_version,
    }


def is_shared(table: sa.FromClause, now: datetime) -> sa.ColumnElement[bool]:
    """Return the condition that two machines send under the name of a till."""
    returned_at = table.c.speaker_returned_at
    is_recent = _is_within(returned_at, FORGOTTEN_AFTER, now)
    return sa.and_(table.c.speaker_returns >= MIN_RETURNS, is_recent)


def _is_within(
    at: sa.ColumnElement[Any], period: timedelta, now: datetime
) -> sa.ColumnElement[bool]:
    """Return whether a time is within the period before now.

    One that is to come is not, but for clocks of receivers apart: our clock was ahead then.
    """
    return sa.and_(at > now - period, at <= now + CLOCK_WRONG_BEYOND)


def durations_of(last: sa.Subquery, now: datetime) -> tuple[sa.ColumnElement[float], ...]:
    """Return `oldest_seconds` (age of the oldest event), `seconds_to_empty` (of the backlog).

    The latter extrapolates from the last two heartbeats; NULL unless the backlog shrank.
    """
    has_backlog = last.c.outstanding > 0
    interval = SecondsBetween(last.c.heartbeat_before_at, last.c.heartbeat_at)
    delivered = last.c.outstanding_before - last.c.outstanding
    to_empty = sa.cast(last.c.outstanding, sa.Float) * interval / delivered
    is_shrinking = sa.and_(has_backlog, delivered > 0, interval > 0)
    return (
        sa.case((has_backlog, _oldest_seconds(last, now))).label("oldest_seconds"),
        sa.case((is_shrinking, to_empty)).label("seconds_to_empty"),
    )


def _oldest_seconds(last: sa.Subquery, now: datetime) -> sa.ColumnElement[float]:
    """Return the age of the oldest undelivered event in seconds.

    As the till reported it, by its own clock; plus the time since, if it reported events that have
    not arrived yet.
    """
    reported = SecondsBetween(last.c.oldest_undelivered_at, last.c.agent_sent_at)
    since = SecondsBetween(last.c.heartbeat_at, sa.literal(now, agents.c.heartbeat_at.type))
    return reported + sa.case((last.c.is_any_missing > 0, since), else_=0.0)


class SecondsBetween(FunctionElement[float]):
    """Seconds from one timestamp to another, in either database's SQL."""

    inherit_cache = True
    type = sa.Float()


@compiles(SecondsBetween)
def _by_epoch(element: SecondsBetween, compiler: SQLCompiler, **options: object) -> str:
    first, last = (compiler.process(one, **options) for one in element.clauses)
    return f"CAST(EXTRACT(epoch FROM {last}) - EXTRACT(epoch FROM {first}) AS FLOAT)"


@compiles(SecondsBetween, "sqlite")
def _by_julian_day(element: SecondsBetween, compiler: SQLCompiler, **options: object) -> str:
    first, last = (compiler.process(one, **options) for one in element.clauses)
    # A Julian day number is exact to about 40 microseconds.
    return f"round((julianday({last}) - julianday({first})) * 86400, 3)"
