"""Gaps: sequence numbers known to be permanently missing. Pure, no I/O."""

from bisect import bisect_right, insort
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

ACKNOWLEDGEMENT = ("acknowledged_at", "acknowledged_by", "acknowledged_reason")


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """Acceptance of a gap by a person of head office: it no longer counts as incomplete."""

    at: datetime
    by: str
    reason: str


@dataclass(frozen=True, slots=True, order=True)
class Gap:
    """Missing numbers from `first` to `last` inclusive, and the reason."""

    first: int
    last: int
    reason: str
    acknowledgement: Acknowledgement | None = None


class Gaps:
    """The gaps of one epoch, changed by a batch. Invariant: they never overlap.

    The parts of a split gap keep its reason and acknowledgement.
    """

    def __init__(self, stored: Iterable[Gap]) -> None:
        self._stored = frozenset(stored)
        self._current = sorted(self._stored)

    def __contains__(self, number: int) -> bool:
        """Return whether `number` lies in a gap."""
        return self._find(number) is not None

    def reason_of(self, number: int) -> str | None:
        """Return the reason of the gap in which `number` lies; None if in none."""
        index = self._find(number)
        return None if index is None else self._current[index].reason

    def add(self, gap: Gap) -> None:
        """Add a gap."""
        insort(self._current, gap)

    def remove(self, number: int) -> None:
        """Remove `number` from its gap, if any; the gap is split around it."""
        index = self._find(number)
        if index is None:
            return
        gap = self._current[index]
        sides = (replace(gap, last=number - 1), replace(gap, first=number + 1))
        self._current[index : index + 1] = [side for side in sides if side.first <= side.last]

    @property
    def deleted(self) -> list[Gap]:
        """Stored gaps that were removed or split, in order."""
        return sorted(self._stored.difference(self._current))

    @property
    def added(self) -> list[Gap]:
        """New gaps, in order."""
        return [gap for gap in self._current if gap not in self._stored]

    def _find(self, number: int) -> int | None:
        if not self._current:
            return None
        # Binary search: after a restore one batch can meet thousands of gaps.
        index = bisect_right(self._current, number, key=lambda gap: gap.first) - 1
        return index if index >= 0 and number <= self._current[index].last else None
