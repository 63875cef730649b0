"""Wait before the next pass: exponential backoff, jitter, Retry-After. Pure."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import assert_never

from sync.delivery.outcomes import Blocked, FailureCause, RetryLater

MAX_RETRY_AFTER_SECONDS = 3_600.0
# While the store's own network is down, retries put no load on head office, and its recovery
# must be noticed within seconds.
NETWORK_DOWN_CAP_SECONDS = 5.0
# A connection timeout can mean the store's network or head office, and in the latter case all
# stores retry. The first failures count as the store's network. With a connect timeout of 10 s
# they take four minutes; by then a cached DNS name has expired, and a failed lookup tells.
AMBIGUOUS_FAILURES = 20
_MAX_DOUBLINGS = 32


@dataclass(frozen=True, slots=True)
class Backoff:
    """First and longest wait in seconds, and this machine's fixed `slot`, 0 to 1.

    The slot spreads the machines of a chain that all got the same Retry-After. `random` returns a
    random number, 0 to 1.
    """

    base_seconds: float
    cap_seconds: float
    slot: float
    random: Callable[[], float]

    def wait_seconds(self, failures: int, outcome: Blocked | RetryLater) -> float:
        """Return the wait after that many consecutive failures, of which `outcome` is the last.

        A Retry-After is a lower bound, spread by the slot. With a 429 head office allocates each
        caller its own time, so that is the wait; any other Retry-After may be the same for all
        callers, and the longer of it and the backoff counts. A Retry-After shorter than the first
        wait is only a lower bound for the backoff.
        """
        backoff_seconds = self._jittered_seconds(failures, self._cap(failures, outcome))
        asked = outcome.retry_after_seconds if isinstance(outcome, RetryLater) else None
        if asked is None:
            return backoff_seconds
        if asked < self.base_seconds:
            return max(asked, backoff_seconds)
        asked = min(asked, MAX_RETRY_AFTER_SECONDS)
        spread_seconds = asked + self.slot * min(self.cap_seconds, asked)
        is_allocated = outcome.http_status == HTTPStatus.TOO_MANY_REQUESTS
        return spread_seconds if is_allocated else max(spread_seconds, backoff_seconds)

    def _jittered_seconds(self, failures: int, cap_seconds: float) -> float:
        """Double up to the cap, then apply the jitter: before the cap it would be cut off."""
        longest = min(cap_seconds, _doubled(self.base_seconds, failures - 1))
        shortest = min(cap_seconds, self.base_seconds) / 2
        return shortest + (longest - shortest) * self.random()

    def _cap(self, failures: int, outcome: Blocked | RetryLater) -> float:
        match outcome:
            case RetryLater(cause=FailureCause.NETWORK_DOWN):
                return min(NETWORK_DOWN_CAP_SECONDS, self.cap_seconds)
            case RetryLater(cause=FailureCause.NO_CONNECTION | FailureCause.WRONG_CLOCK):
                failures_since = max(0, failures - AMBIGUOUS_FAILURES)
                return min(_doubled(NETWORK_DOWN_CAP_SECONDS, failures_since), self.cap_seconds)
            case RetryLater() | Blocked():
                return self.cap_seconds
            case _:
                assert_never(outcome)


def _doubled(seconds: float, times: int) -> float:
    return seconds * 2.0 ** min(times, _MAX_DOUBLINGS)


def machine_slot(store_id: str, till_id: str) -> float:
    """Return the machine's slot, 0 to 1: a stable hash of its name."""
    digest = hashlib.sha256(f"{store_id}/{till_id}".encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32
