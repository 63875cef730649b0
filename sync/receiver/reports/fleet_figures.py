"""Fleet-wide figures for alerting: stores per condition, backlog, rejections, gaps."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar

from sqlalchemy import Connection, Float, Table, cast, func, select
from sqlalchemy.exc import SQLAlchemyError

from sync.receiver.db.statements import gaps, rejections
from sync.receiver.reports.conditions import Condition
from sync.receiver.reports.fleet import tally
from sync.receiver.reports.tills import Moment

T = TypeVar("T")
# Caps the count queries, so that they take milliseconds; the exact number beyond is no use.
MOST_COUNTED = 100_000
# Below Prometheus' default scrape timeout of ten seconds.
_PATIENCE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class FleetFigures:
    """Figures over the whole database, the same from every receiver that shares it.

    `rejected` and `gap_events` are counted over `MOST_COUNTED` rows only.
    """

    at: datetime
    stores: int
    holding: Mapping[Condition, int]
    oldest_seconds: float
    waiting: int
    dead_letters: int
    rejected: int
    gap_events: int


class Reading(Protocol):
    """The part of `Database` used here."""

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a read transaction."""


class FleetWatch:
    """Reads the figures from the database."""

    def __init__(self, database: Reading, now: Callable[[], datetime], own_version: str) -> None:
        self._database = database
        self._now = now
        self._own_version = own_version

    async def look(self) -> FleetFigures | None:
        """Return the figures, or None if the database fails or is too slow."""
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                return await self._database.read(self._figures)
        except (SQLAlchemyError, OSError):
            return None

    def _figures(self, connection: Connection) -> FleetFigures:
        moment = Moment(self._now(), self._own_version, connection.dialect)
        fleet = tally(connection, moment)
        length = gaps.c.last_sequence - gaps.c.first_sequence + 1
        some_gaps = select(cast(length, Float).label("events")).limit(MOST_COUNTED).subquery()
        missing = select(func.coalesce(func.sum(some_gaps.c.events), 0))
        return FleetFigures(
            at=moment.now,
            stores=fleet.stores,
            holding=fleet.holding,
            oldest_seconds=fleet.oldest_seconds,
            waiting=fleet.waiting,
            dead_letters=fleet.refused,
            rejected=_count(connection, rejections),
            gap_events=int(connection.scalar(missing) or 0),
        )


def _count(connection: Connection, table: Table) -> int:
    some = select(table.c.store_id).limit(MOST_COUNTED).subquery()
    return connection.scalar(select(func.count()).select_from(some)) or 0
