"""Counts requests and events at head office per second since its recovery."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Account:
    """Counters by whole seconds since `recovered_at`; earlier requests count only in `attempts`.

    `attempts`: requests while head office was down. `first_after_seconds`: time of each store's
    first request after the recovery. `retry_after_seconds`: the values of `Retry-After`.
    `too_early`: requests sent before their Retry-After was over.
    """

    recovered_at: float
    attempts: Counter[int] = field(default_factory=Counter)
    requests: Counter[int] = field(default_factory=Counter)
    accepted_events: Counter[int] = field(default_factory=Counter)
    retry_after_seconds: list[int] = field(default_factory=list)
    not_before: dict[str, float] = field(default_factory=dict)
    too_early: int = 0
    first_after_seconds: dict[str, float] = field(default_factory=dict)
    last_delivered_after_seconds: float = 0.0

    def attempted(self) -> None:
        """Count a request sent while head office was down."""
        self.attempts[int(self._now())] += 1

    def arrived(self, store_id: str) -> None:
        """Count a request that head office answers with any status."""
        now = self._now()
        self.requests[int(now)] += 1
        self.first_after_seconds.setdefault(store_id, now)
        self.too_early += now < self.not_before.pop(store_id, now)

    def accepted(self, events: int) -> None:
        """Count the events of an accepted request."""
        now = self._now()
        self.accepted_events[int(now)] += events
        self.last_delivered_after_seconds = now

    def rejected(self, store_id: str, seconds: int) -> None:
        """Count a request that was rejected with a Retry-After of `seconds`."""
        self.retry_after_seconds.append(seconds)
        self.not_before[store_id] = self._now() + seconds

    @property
    def refused(self) -> int:
        """Return the number of rejected requests."""
        return len(self.retry_after_seconds)

    @property
    def peak_requests(self) -> int:
        """Return the highest number of requests in one second, rejected ones included."""
        return max(self.requests.values(), default=0)

    @property
    def peak_events(self) -> int:
        """Return the highest number of events accepted in one second."""
        return max(self.accepted_events.values(), default=0)

    def peak_attempts(self, last_seconds: int) -> int:
        """Return the highest number of attempts in one of the last `last_seconds` before the
        recovery.
        """
        return max((self.attempts[-second] for second in range(1, last_seconds + 1)), default=0)

    def _now(self) -> float:
        return asyncio.get_running_loop().time() - self.recovered_at
