"""How each till is, as the database sees it: what its newest heartbeat said, and what that means.

Enrolled tills that were never heard of are among them.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import (
    ColumnElement,
    Dialect,
    Integer,
    Select,
    Subquery,
    and_,
    case,
    extract,
    func,
    literal,
    or_,
    select,
    union,
)

from sync.receiver.pages.conditions import (
    BEHIND_AFTER,
    CLOCK_WRONG_BEYOND,
    DISK_LOW_BELOW_BYTES,
    SILENT_AFTER,
    Condition,
)
from sync.receiver.statements import agents
from sync.receiver.tables import Token, table_of

_tokens = table_of(Token)
_SECONDS_OF_A_DAY = 86_400


@dataclass(frozen=True, slots=True)
class Moment:
    """What the conditions are told by: our time, our version, and the database's dialect."""

    now: datetime
    own_version: str
    dialect: Dialect


def tills(moment: Moment, store_id: str | None = None, search: str = "") -> Subquery:
    """Return a row a till: of one store, or of those whose name contains `search`."""
    last = _last_heard(store_id)
    known = _known(store_id, search)
    joined = known.outerjoin(
        last,
        and_(
            last.c.store_id == known.c.store_id,
            last.c.till_id == known.c.till_id,
            last.c.place == 1,
        ),
    )
    flags = (_flag(holds).label(name.name) for name, holds in _holding(last, moment).items())
    return (
        select(
            known.c.store_id,
            known.c.till_id,
            last.c.seen_at,
            last.c.heartbeat_at,
            last.c.agent_sent_at,
            last.c.agent_version,
            func.coalesce(last.c.outstanding, 0).label("outstanding"),
            func.coalesce(last.c.dead_letters, 0).label("dead_letters"),
            last.c.oldest_undelivered_at,
            last.c.last_activity_at,
            last.c.database_bytes,
            last.c.free_bytes,
            *flags,
        )
        .select_from(joined)
        .subquery("tills")
    )


def _known(store_id: str | None, search: str) -> Subquery:
    """Return the names of all tills that are enrolled, or were ever heard."""
    enrolled = select(_tokens.c.store_id, _tokens.c.till_id)
    heard = select(agents.c.store_id, agents.c.till_id)
    if store_id is not None:
        enrolled = enrolled.where(_tokens.c.store_id == store_id)
        heard = heard.where(agents.c.store_id == store_id)
    if search:
        enrolled = enrolled.where(_tokens.c.store_id.icontains(search, autoescape=True))
        heard = heard.where(agents.c.store_id.icontains(search, autoescape=True))
    return union(enrolled, heard).subquery("known")


def _last_heard(store_id: str | None) -> Subquery:
    """Return the epochs of each till; `place` 1 is the one that spoke for the machine last."""
    till = (agents.c.store_id, agents.c.till_id)
    newest = (
        agents.c.heartbeat_at.desc().nulls_last(),
        agents.c.last_seen_at.desc().nulls_last(),
        agents.c.epoch,
    )
    found: Select[tuple[object, ...]] = select(
        agents,
        func.row_number().over(partition_by=till, order_by=newest).label("place"),
        func.max(agents.c.last_seen_at).over(partition_by=till).label("seen_at"),
    )
    if store_id is not None:
        found = found.where(agents.c.store_id == store_id)
    return found.subquery("last")


def _holding(last: Subquery, moment: Moment) -> dict[Condition, ColumnElement[bool]]:
    """Return when each condition holds of a till. A till's own clock is compared with itself."""
    dialect = moment.dialect
    said_at = seconds_of(last.c.agent_sent_at, dialect)
    ahead = said_at - seconds_of(last.c.heartbeat_at, dialect)
    waited = said_at - seconds_of(last.c.oldest_undelivered_at, dialect)
    return {
        Condition.SILENT: or_(last.c.seen_at.is_(None), last.c.seen_at < moment.now - SILENT_AFTER),
        Condition.REFUSED: last.c.dead_letters > 0,
        Condition.DISK_LOW: last.c.free_bytes < DISK_LOW_BELOW_BYTES,
        Condition.CLOCK_WRONG: func.abs(ahead) > CLOCK_WRONG_BEYOND.total_seconds(),
        Condition.BEHIND: and_(last.c.outstanding > 0, waited > BEHIND_AFTER.total_seconds()),
        Condition.OTHER_VERSION: last.c.agent_version != moment.own_version,
    }


def seconds_of(moment: ColumnElement[datetime], dialect: Dialect) -> ColumnElement[float]:
    """Return a moment as seconds, for differences."""
    match dialect.name:
        case "postgresql":
            return extract("epoch", moment)  # type: ignore[return-value] # a number, with a fraction
        case _:
            return func.julianday(moment) * _SECONDS_OF_A_DAY


def _flag(holds: ColumnElement[bool]) -> ColumnElement[int]:
    return case((holds, literal(1, Integer)), else_=literal(0, Integer))
