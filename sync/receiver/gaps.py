"""Numbers that are known to be missing for good, and how arrivals make them fewer. No I/O."""

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
        self._now = set(self._before)

    def hold(self, number: int) -> bool:
        """Tell whether `number` lies in a gap."""
        return self._around(number) is not None

    def note(self, gap: Gap) -> None:
        """Add a gap."""
        self._now.add(gap)

    def take(self, number: int) -> None:
        """Take `number` out of its gap, if it lies in one; what is left of that stays noted."""
        gap = self._around(number)
        if gap is None:
            return
        self._now.remove(gap)
        if gap.first < number:
            self._now.add(Gap(gap.first, number - 1, gap.reason))
        if number < gap.last:
            self._now.add(Gap(number + 1, gap.last, gap.reason))

    @property
    def gone(self) -> list[Gap]:
        """The gaps that are no longer as they were known, in order."""
        return sorted(self._before - self._now)

    @property
    def noted(self) -> list[Gap]:
        """The gaps that were not known before, in order."""
        return sorted(self._now - self._before)

    def _around(self, number: int) -> Gap | None:
        return next((gap for gap in self._now if gap.first <= number <= gap.last), None)
