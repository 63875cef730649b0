"""Gaps: sequence numbers known to be permanently missing. Pure, no I/O."""

from bisect import bisect_right, insort
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Gap:
    """Missing numbers from `first` to `last` inclusive, and the reason."""

    first: int
    last: int
    reason: str


class Gaps:
    """The gaps of one epoch, changed by a batch. Invariant: they never overlap."""

    def __init__(self, known: Iterable[Gap]) -> None:
        self._before = frozenset(known)
        self._now = sorted(self._before)

    def hold(self, number: int) -> bool:
        """Return whether `number` lies in a gap."""
        return self._place_of(number) is not None

    def note(self, gap: Gap) -> None:
        """Add a gap."""
        insort(self._now, gap)

    def take(self, number: int) -> None:
        """Remove `number` from its gap, if any; the gap is split around it."""
        place = self._place_of(number)
        if place is None:
            return
        gap = self._now[place]
        sides = (Gap(gap.first, number - 1, gap.reason), Gap(number + 1, gap.last, gap.reason))
        self._now[place : place + 1] = [side for side in sides if side.first <= side.last]

    @property
    def gone(self) -> list[Gap]:
        """Initial gaps that were removed or split, in order."""
        return sorted(self._before.difference(self._now))

    @property
    def noted(self) -> list[Gap]:
        """New gaps, in order."""
        return [gap for gap in self._now if gap not in self._before]

    def _place_of(self, number: int) -> int | None:
        if not self._now:
            return None
        # Binary search: after a restore one batch can meet thousands of gaps.
        place = bisect_right(self._now, number, key=lambda gap: gap.first) - 1
        return place if place >= 0 and number <= self._now[place].last else None
