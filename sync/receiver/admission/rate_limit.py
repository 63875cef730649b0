"""Token bucket, and staggered Retry-After values for rejected requests. Pure, no I/O, no clock.

Times are seconds of a monotonic clock.
"""

import math

# Bucket size: the events of one second need not be spread evenly. With it, no second exceeds
# twice the limit, as long as no batch is larger than half the limit.
BURST_SECONDS = 0.5
# Float error of a clock difference; it must not round up to one more second.
_ROUNDING = 1e-6


class TokenBucket:
    """Token bucket of `rate` events per second; 0 means unlimited.

    A batch is admitted while any token is left and may overdraw the bucket: otherwise a batch
    larger than the bucket would never pass.
    """

    def __init__(self, rate: int, now: float) -> None:
        self.rate = rate
        self._paid_until = now

    @property
    def refilled_at(self) -> float:
        """The time from which the next batch is admitted."""
        return self._paid_until - BURST_SECONDS

    def is_empty(self, now: float) -> bool:
        """Return whether not even one event is admitted."""
        return bool(self.rate) and self._paid_until > now + BURST_SECONDS

    def take(self, events: int, now: float) -> None:
        """Take a token per event."""
        if self.rate:
            self._paid_until = max(self._paid_until, now) + events / self.rate


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

    def allocate(self, now: float, slot_seconds: float, not_before: float = -math.inf) -> int:
        """Allocate the next slot; return the whole seconds until it starts, at least one.

        `not_before` is the earliest time with any capacity.
        """
        earliest = min(max(now, not_before), now + self._longest)
        wait_seconds = self._wrapped(max(self._free_at, earliest) - now)
        self._free_at = now + wait_seconds + slot_seconds
        return max(1, math.ceil(wait_seconds - _ROUNDING))

    def _wrapped(self, wait_seconds: float) -> float:
        if wait_seconds <= self._longest:
            return wait_seconds
        half = self._longest / 2
        return half + (wait_seconds - half) % half
