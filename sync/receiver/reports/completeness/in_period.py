"""Narrows the audit to a period: its captures that are here, and those that may be missing.

The numbers of an epoch are in the order of capture. So a range of numbers without a row was
captured between the events beside it, and is left out only if that is certainly outside of the
period. Where no event with a trusted time is beside it, it stays: a report never says more than is
known. Nor is a range of a till that has ever salvaged captures left out: those have numbers in the
order in which they were found, among those of later captures.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import sqlalchemy as sa
from msgspec.structs import replace
from sqlalchemy import func

from sync.receiver.db.period import Period, captured_at
from sync.receiver.db.tables import agents, answers, sessions
from sync.receiver.ingest.times.clock_skew import TOLERANCE
from sync.receiver.reports.completeness.state import AcknowledgedGap, EpochCompleteness, Range

# Ranges of an epoch that are placed in time; an honest one has a few. If there are more, all stay.
MAX_PLACED = 200
_KEY = ("store_id", "till_id", "epoch")
_Numbers = TypeVar("_Numbers", Range, AcknowledgedGap)


def narrowed(
    connection: sa.Connection, epochs: Sequence[EpochCompleteness], period: Period
) -> list[EpochCompleteness]:
    """Return epochs of one store, narrowed to the period; without ended ones outside it."""
    if not epochs:
        return []
    counts = _counts(connection, epochs, period)
    unordered = _tills_with_salvage(connection, epochs)
    found = []
    for epoch in epochs:
        captured, untrusted = counts.get((epoch.till_id, epoch.epoch), (0, 0))
        is_ordered = epoch.till_id not in unordered
        one = _narrowed(_Times(connection, epoch, period), epoch) if is_ordered else epoch
        one = replace(one, captured=captured, untrusted_times=untrusted)
        if captured or epoch.ended is None or not one.is_complete or one.acknowledged_gaps:
            found.append(one)
    return found


def _narrowed(times: "_Times", epoch: EpochCompleteness) -> EpochCompleteness:
    known = (*epoch.outstanding, *epoch.rejected, *epoch.gaps, *epoch.missing)
    if len(known) + len(epoch.acknowledged_gaps) > MAX_PLACED:
        return epoch
    # Its machine may hold more, captured after the last one that is known.
    is_over = epoch.unconfirmed is not None and times.is_later(epoch.unconfirmed.captures + 1)
    return replace(
        epoch,
        outstanding=times.within(epoch.outstanding),
        rejected=times.within(epoch.rejected),
        gaps=times.within(epoch.gaps),
        acknowledged_gaps=times.within(epoch.acknowledged_gaps),
        missing=times.within(epoch.missing),
        unconfirmed=None if is_over else epoch.unconfirmed,
    )


@dataclass(frozen=True, slots=True)
class _Times:
    """Places numbers of an epoch in time, by the trusted times of the events beside them."""

    connection: sa.Connection
    epoch: EpochCompleteness
    period: Period

    def within(self, ranges: Iterable[_Numbers]) -> list[_Numbers]:
        """Return the ranges that may have been captured in the period."""
        return [
            one for one in ranges if not self.is_later(one.first) and not self._is_earlier(one.last)
        ]

    def is_later(self, number: int) -> bool:
        """Return whether a number was certainly captured after the period."""
        if self.period.until is None:
            return False
        before = self._beside(number, is_before=True)
        return before is not None and before - TOLERANCE >= self.period.until

    def _is_earlier(self, number: int) -> bool:
        if self.period.since is None:
            return False
        after = self._beside(number, is_before=False)
        return after is not None and after + TOLERANCE < self.period.since

    def _beside(self, number: int, *, is_before: bool) -> datetime | None:
        """Return the time of the nearest event before or after a number, of those with one."""
        times: list[datetime] = [
            at
            for table in (sessions, answers)
            if (at := self.connection.scalar(self._nearest(table, number, is_before=is_before)))
        ]
        if not times:
            return None
        return max(times) if is_before else min(times)

    def _nearest(self, table: sa.Table, number: int, *, is_before: bool) -> sa.Select[Any]:
        is_epoch = (table.c[name] == getattr(self.epoch, name) for name in _KEY)
        at, sequence = table.c.corrected_at, table.c.sequence
        found = sa.select(at).where(*is_epoch, at.is_not(None)).limit(1)
        if is_before:
            return found.where(sequence < number).order_by(sequence.desc())
        return found.where(sequence > number).order_by(sequence)


def _tills_with_salvage(
    connection: sa.Connection, epochs: Sequence[EpochCompleteness]
) -> frozenset[str]:
    """Return those of these tills that have told of salvaged captures, in any of their epochs."""
    salvaged = sa.select(agents.c.till_id).where(
        agents.c.store_id == epochs[0].store_id,
        agents.c.till_id.in_({epoch.till_id for epoch in epochs}),
        agents.c.salvage_salvaged > 0,
    )
    return frozenset(connection.scalars(salvaged))


def _counts(
    connection: sa.Connection, epochs: Sequence[EpochCompleteness], period: Period
) -> dict[tuple[str, str], tuple[int, int]]:
    """Return the captures in the period per till and epoch, and those without a trusted time."""
    found: dict[tuple[str, str], tuple[int, int]] = {}
    # No range of them: PostgreSQL orders texts by the collation of its database.
    tills, names = ({getattr(one, name) for one in epochs} for name in ("till_id", "epoch"))
    for table in (sessions, answers):
        key = (table.c.till_id, table.c.epoch)
        statement = (
            sa.select(*key, func.count(), func.count() - func.count(table.c.corrected_at))
            .where(
                table.c.store_id == epochs[0].store_id,
                table.c.till_id.in_(tills),
                table.c.epoch.in_(names),
                period.contains(captured_at(table)),
            )
            .group_by(*key)
        )
        for till_id, epoch, captured, untrusted in connection.execute(statement):
            before = found.get((till_id, epoch), (0, 0))
            found[till_id, epoch] = (before[0] + captured, before[1] + untrusted)
    return found
