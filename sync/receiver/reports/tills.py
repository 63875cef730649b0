"""SQL for the state of each till: its latest heartbeat, and the conditions that follow from it.

Includes tills that are enrolled and have never sent anything.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Dialect,
    Float,
    Integer,
    Select,
    Subquery,
    Table,
    and_,
    case,
    cast,
    exists,
    extract,
    func,
    literal,
    null,
    or_,
    select,
    true,
    union_all,
)

from sync.receiver.db.statements import agents
from sync.receiver.db.tables import TokenRow, table_of
from sync.receiver.reports.conditions import (
    BEHIND_AFTER,
    CLOCK_WRONG_BEYOND,
    DISK_LOW_BELOW_BYTES,
    SILENT_AFTER,
    Condition,
)

_tokens = table_of(TokenRow)
_SECONDS_OF_A_DAY = 86_400
_TOLD = (
    "store_id",
    "till_id",
    "heartbeat_at",
    "agent_sent_at",
    "agent_version",
    "outstanding",
    "dead_letters",
    "oldest_undelivered_at",
    "last_activity_at",
    "free_bytes",
    "heartbeat_before_at",
    "outstanding_before",
)


@dataclass(frozen=True, slots=True)
class Moment:
    """Inputs of the conditions: our time, our version and the SQL dialect."""

    now: datetime
    own_version: str
    dialect: Dialect


def tills(moment: Moment, store_id: str | None = None, search: str = "") -> Subquery:
    """Return one row per till, of one store or of stores whose name contains `search`."""
    last = union_all(_heard(store_id, search), _never_heard(store_id, search)).subquery("last")
    flags = (_flag(holds).label(name.column) for name, holds in _holding(last, moment).items())
    return select(last, *flags, *_spans(last, moment)).subquery("tills")


def _heard(store_id: str | None, search: str) -> Select[Any]:
    """Select each till's epoch with the latest heartbeat, and its last contact over all epochs."""
    till = (agents.c.store_id, agents.c.till_id)
    newest = (
        agents.c.heartbeat_at.desc().nulls_last(),
        agents.c.last_seen_at.desc().nulls_last(),
        agents.c.epoch,
    )
    epochs = (
        select(
            *(agents.c[name] for name in _TOLD),
            func.max(agents.c.last_seen_at).over(partition_by=till).label("seen_at"),
            func.max(agents.c.last_sequence - agents.c.accepted_through)
            .over(partition_by=till)
            .label("missing"),
            func.row_number().over(partition_by=till, order_by=newest).label("place"),
        )
        .where(_wanted(agents, store_id, search))
        .subquery("epochs")
    )
    told = (epochs.c[name] for name in (*_TOLD, "seen_at", "missing"))
    return select(*told).where(epochs.c.place == 1)


def _never_heard(store_id: str | None, search: str) -> Select[Any]:
    """Select the tills that are enrolled and never sent anything, in the same columns."""
    named = (_tokens.c.store_id, _tokens.c.till_id)
    heard = and_(agents.c.store_id == named[0], agents.c.till_id == named[1])
    untold = (cast(null(), agents.c[name].type).label(name) for name in _TOLD[len(named) :])
    seen_at = cast(null(), agents.c.last_seen_at.type).label("seen_at")
    missing = cast(null(), agents.c.last_sequence.type).label("missing")
    return (
        select(*named, *untold, seen_at, missing)
        .distinct()
        .where(_wanted(_tokens, store_id, search), ~exists().where(heard))
    )


def _wanted(table: Table, store_id: str | None, search: str) -> ColumnElement[bool]:
    if store_id is not None:
        return table.c.store_id == store_id
    return table.c.store_id.icontains(search, autoescape=True) if search else true()


def _holding(last: Subquery, moment: Moment) -> dict[Condition, ColumnElement[bool]]:
    """Return the SQL of each condition. A till's clock is compared only with itself."""
    dialect = moment.dialect
    ahead = _seconds(last.c.heartbeat_at, last.c.agent_sent_at, dialect)
    return {
        Condition.SILENT: or_(last.c.seen_at.is_(None), last.c.seen_at < moment.now - SILENT_AFTER),
        Condition.REFUSED: last.c.dead_letters > 0,
        Condition.DISK_LOW: last.c.free_bytes < DISK_LOW_BELOW_BYTES,
        Condition.CLOCK_WRONG: func.abs(ahead) > CLOCK_WRONG_BEYOND.total_seconds(),
        Condition.BEHIND: and_(
            last.c.outstanding > 0, _waited(last, moment) > BEHIND_AFTER.total_seconds()
        ),
        Condition.OTHER_VERSION: last.c.agent_version != moment.own_version,
    }


def _spans(last: Subquery, moment: Moment) -> tuple[ColumnElement[float], ...]:
    """Return `waited_seconds` (age of the oldest event), `left_seconds` (to an empty backlog)."""
    waiting = last.c.outstanding > 0
    between = _seconds(last.c.heartbeat_before_at, last.c.heartbeat_at, moment.dialect)
    fewer = last.c.outstanding_before - last.c.outstanding
    left = cast(last.c.outstanding, Float) * between / fewer
    return (
        case((waiting, _waited(last, moment))).label("waited_seconds"),
        case((and_(waiting, fewer > 0, between > 0), left)).label("left_seconds"),
    )


def _waited(last: Subquery, moment: Moment) -> ColumnElement[float]:
    """Return the age of the oldest undelivered event in seconds.

    As the till reported it, by its own clock; plus the time since, if it reported events that have
    not arrived yet.
    """
    told = _seconds(last.c.oldest_undelivered_at, last.c.agent_sent_at, moment.dialect)
    now = literal(moment.now, agents.c.heartbeat_at.type)
    since = _seconds(last.c.heartbeat_at, now, moment.dialect)
    return told + case((last.c.missing > 0, since), else_=0.0)


def _seconds(
    first: ColumnElement[datetime], last: ColumnElement[datetime], dialect: Dialect
) -> ColumnElement[float]:
    """Return the seconds between two timestamps."""
    match dialect.name:
        case "postgresql":
            return cast(extract("epoch", last) - extract("epoch", first), Float)
        case _:
            # A Julian day number is exact to about 40 microseconds.
            days = func.julianday(last) - func.julianday(first)
            return func.round(days * _SECONDS_OF_A_DAY, 3)


def _flag(holds: ColumnElement[bool]) -> ColumnElement[int]:
    return case((holds, literal(1, Integer)), else_=literal(0, Integer))
