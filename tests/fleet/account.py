"""What is counted at head office's door, second by second, from its return on."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Account:
    """Counts by whole seconds since `returned_at`; what comes before it only as `knocks`.

    `knocks` are the requests that found head office away, `first_after_seconds` when each
    store's first request arrived after the return, `told_seconds` what `Retry-After` said, and
    `too_early` how many came before the moment that they were told.
    """

    returned_at: float
    knocks: Counter[int] = field(default_factory=Counter)
    requests: Counter[int] = field(default_factory=Counter)
    accepted_events: Counter[int] = field(default_factory=Counter)
    told_seconds: list[int] = field(default_factory=list)
    not_before: dict[str, float] = field(default_factory=dict)
    too_early: int = 0
    first_after_seconds: dict[str, float] = field(default_factory=dict)
    last_delivered_after_seconds: float = 0.0

    def knocked(self) -> None:
        """Count a request that found nobody in."""
        self.knocks[int(self._now())] += 1

    def arrived(self, store_id: str) -> None:
        """Count a request that head office will answer, whatever it says."""
        now = self._now()
        self.requests[int(now)] += 1
        self.first_after_seconds.setdefault(store_id, now)
        self.too_early += now < self.not_before.pop(store_id, now)

    def accepted(self, events: int) -> None:
        """Count the events of a request that was accepted."""
        now = self._now()
        self.accepted_events[int(now)] += events
        self.last_delivered_after_seconds = now

    def put_off(self, store_id: str, seconds: int) -> None:
        """Count a request that was refused, and asked to come again after so many seconds."""
        self.told_seconds.append(seconds)
        self.not_before[store_id] = self._now() + seconds

    @property
    def refused(self) -> int:
        """How many requests were refused."""
        return len(self.told_seconds)

    @property
    def peak_requests(self) -> int:
        """The most requests in a second, those that were refused as well."""
        return max(self.requests.values(), default=0)

    @property
    def peak_events(self) -> int:
        """The most events accepted in a second."""
        return max(self.accepted_events.values(), default=0)

    def peak_knocks(self, last_seconds: int) -> int:
        """Return the most knocks in a second of the last ones before the return."""
        return max((self.knocks[-second] for second in range(1, last_seconds + 1)), default=0)

    def _now(self) -> float:
        return asyncio.get_running_loop().time() - self.returned_at
