"""Streams the completeness report as JSON, and computes its totals."""

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import Connection

from sync.receiver.db.database import Reads
from sync.receiver.db.period import EVER, Period
from sync.receiver.reports.completeness.audit import audit_chunks
from sync.receiver.reports.completeness.state import AcknowledgedGap, EpochCompleteness, Range
from sync.receiver.reports.tills import Reference
from sync.receiver.reports.unheard import Unheard, unheard_tills


@dataclass(slots=True)
class Totals:
    """Counts of epochs, and of sequence numbers by state.

    Epochs: `incomplete`; `unlisted` have no row in `agents`; `unconfirmed` have ended, and their
    machine may hold more; of `truncated` ones only some ranges are listed and counted. `moved`
    events have new numbers in a later epoch, and are not lost. `captured`: in the period, of which
    `untrusted_times` are placed by their time of receipt. `unheard` tills may have captures that
    are not known here.
    """

    epochs: int = 0
    incomplete: int = 0
    unlisted: int = 0
    outstanding: int = 0
    rejected: int = 0
    gaps: int = 0
    acknowledged: int = 0
    moved: int = 0
    missing: int = 0
    unconfirmed: int = 0
    truncated: int = 0
    captured: int = 0
    untrusted_times: int = 0
    unheard: int = 0

    @property
    def complete(self) -> bool:
        """Return whether every epoch is complete."""
        return self.incomplete == 0

    @property
    def is_proven(self) -> bool:
        """Return whether every epoch is complete, and no till may have more."""
        return self.complete and self.unheard == 0

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
        moved = _count(one for one in epoch.acknowledged_gaps if one.has_moved)
        self.acknowledged += _count(epoch.acknowledged_gaps) - moved
        self.moved += moved
        self.missing += _count(epoch.missing)
        self.captured += epoch.captured or 0
        self.untrusted_times += epoch.untrusted_times


@dataclass(frozen=True, slots=True)
class Scope:
    """Scope of a report: one store or all, a period, and head office's time and version."""

    reference: Reference
    store_id: str | None = None
    period: Period = EVER

    def unheard(self, connection: Connection) -> Unheard:
        """Return the tills that may have captures unknown to the report."""
        return unheard_tills(connection, self.reference, self.store_id, self.period.until)


async def completeness_json(
    database: Reads, scope: Scope, totals: Totals | None = None
) -> AsyncIterator[bytes]:
    """Yield `{"asOf":…,"epochs":[…],"complete":true|false,…}`, some epochs at a time.

    A document cut short is invalid JSON. Adds the epochs to `totals`.
    """
    totals = totals or Totals()
    head = scope.reference.as_of() | scope.period.members()
    separator = msgspec.json.encode(head)[:-1] + b',"epochs":['
    async for epochs in audit_chunks(database, scope.store_id, scope.period):
        for epoch in epochs:
            totals.add(epoch)
        # One chunk for many epochs: each chunk is a write to the connection, with a timer.
        yield separator + b",\n".join(map(msgspec.json.encode, epochs))
        separator = b",\n"
    start = b"" if totals.epochs else separator
    unheard = await database.read(scope.unheard)
    totals.unheard = unheard.count
    rest = {"complete": totals.complete, **unheard.members()}
    if scope.period:
        rest |= {"captured": totals.captured, "untrustedTimes": totals.untrusted_times}
    yield start + b"]," + msgspec.json.encode(rest)[1:] + b"\n"


def format_ranges(ranges: Sequence[Range | AcknowledgedGap]) -> str:
    """Format ranges for people: `4-6, 9`."""
    return ", ".join(
        f"{one.first}" if one.first == one.last else f"{one.first}-{one.last}" for one in ranges
    )


def _count(ranges: Iterable[Range | AcknowledgedGap]) -> int:
    return sum(one.last - one.first + 1 for one in ranges)
