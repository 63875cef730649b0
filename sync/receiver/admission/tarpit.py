"""Tarpit: a sender that is refused again and again is answered slowly.

A refusal costs its sender nothing: it asks again at once, and then hundreds of its requests stand
in the event loop beside each request of the others.
"""

import asyncio
from collections.abc import Callable, Hashable

# Refusals of one sender that are answered at once: in a burst, and then each second.
_BURST, _PER_SECOND = 20, 5
HOLD_SECONDS = 1.0
# Held requests occupy connections; beyond this many all are answered at once.
_MOST_HELD = 1024
_FEW = 1024
# Float error of a sum.
_ROUNDING = 1e-6


class Tarpit:
    """Delays refusals. `now_seconds` is a monotonic clock. Not thread-safe; event loop only."""

    def __init__(self, now_seconds: Callable[[], float]) -> None:
        self._now_seconds = now_seconds
        # The time at which a sender's refusals are forgotten, at `_PER_SECOND`.
        self._forgotten_at: dict[Hashable, float] = {}
        self._sweep_beyond = _FEW
        self.held = 0

    def __len__(self) -> int:
        """Return the number of senders that it remembers."""
        return len(self._forgotten_at)

    def is_repeated(self, sender: Hashable) -> bool:
        """Note a refusal; return whether the sender had too many of them lately."""
        now = self._now_seconds()
        if len(self._forgotten_at) > self._sweep_beyond:
            self._forgotten_at = {s: at for s, at in self._forgotten_at.items() if at > now}
            self._sweep_beyond = max(_FEW, 2 * len(self._forgotten_at))
        forgotten_at = max(self._forgotten_at.get(sender, now), now) + 1 / _PER_SECOND
        longest = now + (_BURST + 1) / _PER_SECOND
        self._forgotten_at[sender] = min(forgotten_at, longest)
        return forgotten_at > now + _BURST / _PER_SECOND + _ROUNDING

    async def hold(self, sender: Hashable) -> None:
        """Return at once, or after `HOLD_SECONDS` if refusals of the sender are repeated."""
        if self.is_repeated(sender) and self.held < _MOST_HELD:
            self.held += 1
            try:
                await asyncio.sleep(HOLD_SECONDS)
            finally:
                self.held -= 1
