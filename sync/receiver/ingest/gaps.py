"""Numbers that are known to be missing for good, and how arrivals make them fewer. No I/O."""

from bisect import bisect_right, insort
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Gap:
    """The numbers from `first` to `last`, both included, and why they are missing."""

    first: int
    last: int
    reason: str


class Gaps:
    """The gaps of an epoch as a batch changes them. They never overlap."""

    def __init__(self, known: Iterable[Gap]) -> None:
        self._before = frozenset(known)
        self._now = sorted(self._before)

    def hold(self, number: int) -> bool:
        """Tell whether `number` lies in a gap."""
        return self._place_of(number) is not None

    def note(self, gap: Gap) -> None:
        """Add a gap."""
        insort(self._now, gap)

    def take(self, number: int) -> None:
        """Take `number` out of its gap, if it lies in one; what is left of that stays noted."""
        place = self._place_of(number)
        if place is None:
            return
        gap = self._now[place]
        sides = (Gap(gap.first, number - 1, gap.reason), Gap(number + 1, gap.last, gap.reason))
        self._now[place : place + 1] = [side for side in sides if side.first <= side.last]

    @property
    def gone(self) -> list[Gap]:
        """The gaps that are no longer as they were known, in order."""
        return sorted(self._before.difference(self._now))

    @property
    def noted(self) -> list[Gap]:
        """The gaps that were not known before, in order."""
        return [gap for gap in self._now if gap not in self._before]

    def _place_of(self, number: int) -> int | None:
        if not self._now:
            return None
        # A store that comes back after a restore can have thousands of gaps in one batch.
        place = bisect_right(self._now, number, key=lambda gap: gap.first) - 1
        return place if place >= 0 and number <= self._now[place].last else None
