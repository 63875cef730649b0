"""Allocate staggered Retry-After values to rejected requests. Pure, no I/O, no clock."""

import math

# Float error of a clock difference; it must not round up to one more second.
_ROUNDING = 1e-6


class RetryAfterAllocator:
    """Virtual queue: gives each rejected caller its own Retry-After.

    A slot is as long as serving one request takes, and expires with its time. Slots are not
    reserved: a caller that retries on time finds capacity because the others were sent to
    other times.

    No slot lies beyond `longest_seconds`. When the queue is full, allocation wraps to its second
    half, so that the excess is spread as well instead of all retrying in the last second.
    """

    def __init__(self, longest_seconds: float) -> None:
        self._longest = longest_seconds
        self._free_at = -math.inf

    def book(self, now: float, seconds_each: float, not_before: float = -math.inf) -> int:
        """Allocate the next slot; return the whole seconds until it starts, at least one.

        `now` is monotonic. `seconds_each` is the slot's length; `not_before` the earliest time
        with any capacity.
        """
        soonest = min(max(now, not_before), now + self._longest)
        wait_seconds = self._within_the_longest(max(self._free_at, soonest) - now)
        self._free_at = now + wait_seconds + seconds_each
        return max(1, math.ceil(wait_seconds - _ROUNDING))

    def _within_the_longest(self, wait_seconds: float) -> float:
        if wait_seconds <= self._longest:
            return wait_seconds
        half = self._longest / 2
        return half + (wait_seconds - half) % half
