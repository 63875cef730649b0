"""Store details: tills, epochs, rejected events, gaps."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, RowMapping, Select, select

from sync.receiver.db.statements import agents, gaps, rejections
from sync.receiver.reports.conditions import TROUBLES, Condition, span_of
from sync.receiver.reports.tills import Moment, tills

MOST_SHOWN = 100


@dataclass(frozen=True, slots=True)
class Till:
    """A till by its latest heartbeat. `holding` lists its conditions, most severe first.

    `clock_ahead` is the offset of its clock from ours, None if unknown; `oldest` the age of the
    oldest undelivered event; `left` the estimated time to an empty backlog.
    """

    till_id: str
    holding: tuple[Condition, ...]
    heard_at: datetime | None
    waiting: int
    refused: int
    last_activity_at: datetime | None
    clock_ahead: timedelta | None
    free_bytes: int | None
    version: str | None
    oldest: timedelta | None
    left: timedelta | None

    @property
    def state(self) -> Condition:
        """The most severe condition."""
        return next((one for one in TROUBLES if one in self.holding), Condition.DELIVERING)


@dataclass(frozen=True, slots=True)
class OneStore:
    """A store's tills, and the newest `MOST_SHOWN` epochs, rejections and gaps."""

    tills: Sequence[Till]
    epochs: Sequence[RowMapping]
    rejections: Sequence[RowMapping]
    gaps: Sequence[RowMapping]


def one_store(connection: Connection, moment: Moment, store_id: str) -> OneStore | None:
    """Return the details of a store, or None if it is unknown."""

    def newest(rows: Select[tuple[object, ...]]) -> Sequence[RowMapping]:
        return connection.execute(rows.limit(MOST_SHOWN)).mappings().all()

    by_till = tills(moment, store_id)
    found = connection.execute(select(by_till).order_by(by_till.c.till_id)).mappings().all()
    if not found:
        return None
    of_agents = select(agents).where(agents.c.store_id == store_id)
    refused = select(rejections).where(rejections.c.store_id == store_id)
    noted = select(gaps).where(gaps.c.store_id == store_id)
    return OneStore(
        tills=[till_of(row) for row in found],
        epochs=newest(of_agents.order_by(agents.c.last_seen_at.desc().nulls_last())),
        rejections=newest(refused.order_by(rejections.c.received_at.desc())),
        gaps=newest(noted.order_by(gaps.c.noted_at.desc())),
    )


def till_of(row: RowMapping) -> Till:
    """Build a `Till` from a row of `tills`."""
    said_at, heard_at = row["agent_sent_at"], row["heartbeat_at"]
    return Till(
        till_id=row["till_id"],
        holding=tuple(one for one in (*TROUBLES, Condition.OTHER_VERSION) if row[one.column]),
        heard_at=row["seen_at"],
        waiting=row["outstanding"] or 0,
        refused=row["dead_letters"] or 0,
        last_activity_at=row["last_activity_at"],
        clock_ahead=said_at - heard_at if said_at and heard_at else None,
        free_bytes=row["free_bytes"],
        version=row["agent_version"],
        oldest=span_of(row["waited_seconds"]),
        left=span_of(row["left_seconds"]),
    )
