"""Fleet-wide figures for alerting: stores per condition, backlog, rejections, gaps."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, Float, case, cast, func, select
from sqlalchemy.exc import SQLAlchemyError

from sync.receiver.db.conditions import is_in_service
from sync.receiver.db.database import Reads
from sync.receiver.db.tables import gaps, rejections
from sync.receiver.reports.conditions import MAX_PLAUSIBLE_AGE, Condition
from sync.receiver.reports.fleet import count_columns, counts_of, stores_of
from sync.receiver.reports.tills import Reference, tills

# Caps the count queries, so that they take milliseconds; the exact number beyond is no use.
MAX_COUNTED = 100_000
# Below Prometheus' default scrape timeout of ten seconds.
_TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class FleetFigures:
    """Figures over the whole database, the same from every receiver that shares it.

    Without retired tills. `at_seconds` is Unix time, `oldest_seconds` the age of the oldest
    undelivered event, `unconfirmed_epochs` the epochs that ended without the last word of their
    machine. `rejected` and `gap_events` (not acknowledged) are counted over `MAX_COUNTED`
    rows only.
    """

    at_seconds: float
    stores: int
    stores_in: Mapping[Condition, int]
    backlog: int
    dead_letters: int
    unconfirmed_epochs: int
    oldest_seconds: float
    rejected: int
    gap_events: int


async def read_fleet_figures(database: Reads, reference: Reference) -> FleetFigures | None:
    """Return the figures, or None if the database fails or is too slow."""
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            return await database.read(lambda connection: fleet_figures(connection, reference))
    except (SQLAlchemyError, OSError):
        return None


def fleet_figures(connection: Connection, reference: Reference) -> FleetFigures:
    """Return the figures, in three statements."""
    stores = stores_of(tills(reference))
    # A wrong clock yields absurd ages that would hide every other.
    is_plausible = stores.c.oldest_seconds.between(0, MAX_PLAUSIBLE_AGE.total_seconds())
    totals = select(
        func.count().label("stores"),
        func.sum(stores.c.backlog).label("backlog"),
        func.sum(stores.c.dead_letters).label("dead_letters"),
        func.sum(stores.c.unconfirmed_epochs).label("unconfirmed_epochs"),
        func.max(case((is_plausible, stores.c.oldest_seconds))).label("oldest"),
        *count_columns(stores),
    ).select_from(stores)
    row = connection.execute(totals).mappings().one()
    length = gaps.c.last_sequence - gaps.c.first_sequence + 1
    counted = gaps.c.acknowledged_at.is_(None), is_in_service(gaps)
    events = select(cast(length, Float).label("events")).where(*counted)
    some_gaps = events.limit(MAX_COUNTED).subquery()
    gap_events = select(func.coalesce(func.sum(some_gaps.c.events), 0))
    rejected_here = select(rejections.c.store_id).where(is_in_service(rejections))
    some_rejected = rejected_here.limit(MAX_COUNTED).subquery()
    rejected = select(func.count()).select_from(some_rejected)
    return FleetFigures(
        at_seconds=reference.now.timestamp(),
        stores=row["stores"],
        stores_in=counts_of(row),
        backlog=int(row["backlog"] or 0),
        dead_letters=int(row["dead_letters"] or 0),
        unconfirmed_epochs=int(row["unconfirmed_epochs"] or 0),
        oldest_seconds=float(row["oldest"] or 0),
        rejected=connection.scalar(rejected) or 0,
        gap_events=int(connection.scalar(gap_events) or 0),
    )
