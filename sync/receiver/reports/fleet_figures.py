"""The fleet in a few figures, for alerts: how many stores are how, and what is not in order."""

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
# Above it nobody needs the number, and the count stays a matter of milliseconds.
MOST_COUNTED = 100_000
# Below the ten seconds after which Prometheus gives up.
_PATIENCE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class FleetFigures:
    """What the whole database says at a moment; the same from every receiver on it.

    `rejected` and `gap_events` are of `MOST_COUNTED` rows at most.
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
    """What of a database is needed here."""

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Let `work` read one state of the database."""


class FleetWatch:
    """Reads the figures from a database."""

    def __init__(self, database: Reading, now: Callable[[], datetime], own_version: str) -> None:
        self._database = database
        self._now = now
        self._own_version = own_version

    async def look(self) -> FleetFigures | None:
        """Return the figures; None where the database does not answer, or not in time."""
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
