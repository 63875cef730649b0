"""Delivery results that the disk cannot take now: kept in memory, as ranges of positions.

Head office recognises a repeat of `batch`, so nothing is lost if the process ends before they are
saved: the events are sent again. With `replay` a repeat may have an effect, and nothing is kept.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping

from sync.delivery.outcomes import Deferred, Delivered, Refused, Verdict

# Events delivered in order are one range; each refusal is kept with its reason.
MAX_RANGES = 10_000
MAX_REFUSED = 10_000
_DELIVERED = Delivered()


class UnsavedResults:
    """Verdicts by position. Not thread-safe; event loop only."""

    def __init__(self) -> None:
        self.epochs: set[str] = set()
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        self._refused: dict[int, Refused | Deferred] = {}

    def __bool__(self) -> bool:
        """Return whether there are any."""
        return bool(self._firsts)

    def add(self, epoch: str, verdicts: Mapping[int, Verdict]) -> bool:
        """Add the verdicts of a window of `epoch`; return False, adding nothing, if too many."""
        refused = {at: one for at, one in verdicts.items() if isinstance(one, (Refused, Deferred))}
        is_new = any(self.end_of_range(position) is None for position in verdicts)
        if len(self._refused) + len(refused) > MAX_REFUSED + len(self._refused.keys() & refused):
            return False
        if is_new and len(self._firsts) >= MAX_RANGES:
            return False
        for position in sorted(verdicts):
            self._add_position(position)
            self._refused.pop(position, None)
        self._refused |= refused
        self.epochs.add(epoch)
        return True

    def end_of_range(self, position: int) -> int | None:
        """Return the last position of the range that holds `position`; None if none does."""
        at = bisect_right(self._firsts, position) - 1
        return self._lasts[at] if at >= 0 and position <= self._lasts[at] else None

    def lowest(self, count: int) -> dict[int, Verdict]:
        """Return the verdicts at the `count` lowest positions."""
        found: dict[int, Verdict] = {}
        for first, last in zip(self._firsts, self._lasts, strict=True):
            for position in range(first, min(last, first + count - len(found) - 1) + 1):
                found[position] = self._refused.get(position, _DELIVERED)
            if len(found) >= count:
                break
        return found

    def remove_lowest(self, positions: Iterable[int]) -> None:
        """Remove `positions`, the lowest ones."""
        through = max(positions)
        while self._firsts and self._lasts[0] <= through:
            del self._firsts[0], self._lasts[0]
        if self._firsts and self._firsts[0] <= through:
            self._firsts[0] = through + 1
        self._refused = {at: one for at, one in self._refused.items() if at > through}

    def clear(self) -> None:
        """Forget all: the events are sent again."""
        self.epochs.clear()
        self._firsts.clear()
        self._lasts.clear()
        self._refused.clear()

    def _add_position(self, position: int) -> None:
        firsts, lasts = self._firsts, self._lasts
        at = bisect_right(firsts, position) - 1
        if at >= 0 and position <= lasts[at]:
            return
        follows = at >= 0 and lasts[at] == position - 1
        precedes = at + 1 < len(firsts) and firsts[at + 1] == position + 1
        if follows and precedes:
            lasts[at] = lasts[at + 1]
            del firsts[at + 1], lasts[at + 1]
        elif follows:
            lasts[at] = position
        elif precedes:
            firsts[at + 1] = position
        else:
            firsts.insert(at + 1, position)
            lasts.insert(at + 1, position)
