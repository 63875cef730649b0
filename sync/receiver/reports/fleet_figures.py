"""Fleet-wide figures for alerting: stores per condition, backlog, rejections, gaps."""

import asyncio
from dataclasses import dataclass

from sqlalchemy import Connection, Float, cast, func, select
from sqlalchemy.exc import SQLAlchemyError

from sync.receiver.db.database import Database
from sync.receiver.db.tables import gaps, rejections
from sync.receiver.reports.fleet import FleetTotals, fleet_totals
from sync.receiver.reports.tills import Reference

# Caps the count queries, so that they take milliseconds; the exact number beyond is no use.
MAX_COUNTED = 100_000
# Below Prometheus' default scrape timeout of ten seconds.
_TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class FleetFigures:
    """Figures over the whole database, the same from every receiver that shares it.

    `at_seconds` is Unix time. `rejected` and `gap_events` are counted over `MAX_COUNTED` rows only.
    """

    at_seconds: float
    totals: FleetTotals
    rejected: int
    gap_events: int


async def read_fleet_figures(database: Database, reference: Reference) -> FleetFigures | None:
    """Return the figures, or None if the database fails or is too slow."""
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            return await database.read(lambda connection: _figures(connection, reference))
    except (SQLAlchemyError, OSError):
        return None


def _figures(connection: Connection, reference: Reference) -> FleetFigures:
    length = gaps.c.last_sequence - gaps.c.first_sequence + 1
    some_gaps = select(cast(length, Float).label("events")).limit(MAX_COUNTED).subquery()
    gap_events = select(func.coalesce(func.sum(some_gaps.c.events), 0))
    some_rejected = select(rejections.c.store_id).limit(MAX_COUNTED).subquery()
    rejected = select(func.count()).select_from(some_rejected)
    return FleetFigures(
        at_seconds=reference.now.timestamp(),
        totals=fleet_totals(connection, reference),
        rejected=connection.scalar(rejected) or 0,
        gap_events=int(connection.scalar(gap_events) or 0),
    )
