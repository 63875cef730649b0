"""Streams the completeness report as JSON, and computes its totals."""

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass

import msgspec

from sync.receiver.db.database import Reads
from sync.receiver.reports.completeness.audit import audit_chunks
from sync.receiver.reports.completeness.state import AcknowledgedGap, EpochCompleteness, Range


@dataclass(slots=True)
class Totals:
    """Number of epochs, and of sequence numbers by state.

    `unconfirmed` counts the ended epochs whose machine may hold more, `silent` the tills without
    a recent heartbeat: their latest captures are unknown here;
    `truncated` the epochs of which only some ranges are listed and counted.
    """

    epochs: int = 0
    incomplete: int = 0
    unlisted: int = 0
    outstanding: int = 0
    rejected: int = 0
    gaps: int = 0
    acknowledged: int = 0
    missing: int = 0
    unconfirmed: int = 0
    silent: int = 0
    truncated: int = 0

    @property
    def complete(self) -> bool:
        """Return whether every epoch is complete."""
        return self.incomplete == 0

    def add(self, epoch: EpochCompleteness) -> None:
        """Add one epoch to the totals."""
        self.epochs += 1
        self.incomplete += not epoch.is_complete
        self.unlisted += not epoch.listed
        self.truncated += epoch.truncated
        self.unconfirmed += epoch.unconfirmed is not None
        self.outstanding += _count(epoch.outstanding)
        self.rejected += _count(epoch.rejected)
        self.gaps += _count(epoch.gaps)
        self.acknowledged += _count(epoch.acknowledged_gaps)
        self.missing += _count(epoch.missing)


async def completeness_json(
    database: Reads, store_id: str | None, totals: Totals | None = None
) -> AsyncIterator[bytes]:
    """Yield `{"epochs":[…],"complete":true|false}` of one store or of all, some epochs at a time.

    A document cut short is invalid JSON. Adds the epochs to `totals`.
    """
    totals = totals or Totals()
    separator = b'{"epochs":['
    async for epochs in audit_chunks(database, store_id):
        for epoch in epochs:
            totals.add(epoch)
        # One chunk for many epochs: each is a write to the connection, with a timer.
        yield separator + b",\n".join(map(msgspec.json.encode, epochs))
        separator = b",\n"
    start = b"" if totals.epochs else separator
    yield start + b'],"complete":' + msgspec.json.encode(totals.complete) + b"}\n"


def format_ranges(ranges: Sequence[Range | AcknowledgedGap]) -> str:
    """Format ranges for people: `4-6, 9`."""
    return ", ".join(
        f"{one.first}" if one.first == one.last else f"{one.first}-{one.last}" for one in ranges
    )


def _count(ranges: Iterable[Range | AcknowledgedGap]) -> int:
    return sum(one.last - one.first + 1 for one in ranges)
