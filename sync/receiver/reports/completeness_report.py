"""Completeness report: streamed as JSON, and its totals."""

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import msgspec
from sqlalchemy import Connection, select

from sync.receiver.db.database import Database
from sync.receiver.db.tables import AgentRow, TokenRow, table_of
from sync.receiver.reports.completeness import EpochCompleteness, Range, audit
from sync.receiver.reports.ledger_views import can_be_a_name


@dataclass(slots=True)
class Sums:
    """Number of epochs, and of sequence numbers by state.

    `silent` counts the tills without a recent heartbeat: their latest captures are unknown here.
    """

    epochs: int = 0
    incomplete: int = 0
    unlisted: int = 0
    outstanding: int = 0
    rejected: int = 0
    gaps: int = 0
    missing: int = 0
    silent: int = 0

    @property
    def complete(self) -> bool:
        """Return whether every event known to exist is here, in every epoch."""
        return self.incomplete == 0

    def add(self, epoch: EpochCompleteness) -> None:
        """Add one epoch to the totals."""
        self.epochs += 1
        self.incomplete += not epoch.is_complete
        self.unlisted += not epoch.listed
        self.outstanding += _count(epoch.outstanding)
        self.rejected += _count(epoch.rejected)
        self.gaps += _count(epoch.gaps)
        self.missing += _count(epoch.missing)


class Audits:
    """Streams the completeness report."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def knows(self, store_id: str) -> bool:
        """Return whether the store was ever enrolled or sent anything."""
        return can_be_a_name(store_id) and await self._database.read(
            partial(_is_known, store_id=store_id)
        )

    def document(self, store_id: str | None, sums: Sums | None = None) -> AsyncIterator[bytes]:
        """Yield the JSON `document` of one store, or of all if `store_id` is None."""
        return document(audit(self._database, store_id), sums or Sums())


async def document(epochs: AsyncIterator[EpochCompleteness], sums: Sums) -> AsyncIterator[bytes]:
    """Yield `{"epochs":[…],"complete":true|false}`. A document cut short is invalid JSON."""
    between = b'{"epochs":['
    async for epoch in epochs:
        sums.add(epoch)
        yield between + msgspec.json.encode(epoch)
        between = b",\n"
    begun = b"" if sums.epochs else between
    yield begun + b'],"complete":' + msgspec.json.encode(sums.complete) + b"}\n"


def _is_known(connection: Connection, store_id: str) -> bool:
    """Return whether the store was ever enrolled or sent anything."""
    places = (table_of(TokenRow), table_of(AgentRow))
    looks = (select(place.c.store_id).where(place.c.store_id == store_id) for place in places)
    return any(connection.execute(look.limit(1)).first() for look in looks)


def written(ranges: Sequence[Range]) -> str:
    """Format ranges for people: `4-6, 9`."""
    return ", ".join(
        f"{one.first}" if one.first == one.last else f"{one.first}-{one.last}" for one in ranges
    )


def _count(ranges: Iterable[Range]) -> int:
    return sum(one.last - one.first + 1 for one in ranges)
