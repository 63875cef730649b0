"""Load shedding: reject work beyond the limits of `[intake]`, and say when to retry. No I/O.

Each sender that is rejected for the sake of others gets a slot behind the previous ones
(`RetryAfterAllocator`), as long as serving one request takes. The size of a rejected batch is
unknown: it is rejected before decompression, which is most of the work. So the moving average of
stored batches stands in for it: single events while a chain probes whether head office is back,
full batches while it drains its outboxes. It is at least one event, so that never more requests
per second are scheduled than events are admitted.

A sender that is over its own limits gets no slot, and a request that fails does not count for
the averages: otherwise one sender's refusals would put off all others.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sync.receiver.admission.rate_limit import FairTokenBucket, RateDecision, RetryAfterAllocator
from sync.receiver.auth.tokens import AgentName

# The longest Retry-After that an agent honours (`sync.delivery.backoff`).
LONGEST_SECONDS = 3_600.0
# Reject early if the queue for concurrency slots would take longer than this to drain.
_QUEUE_SECONDS = 1.0
# While the database is down, every store is rejected within the same seconds. The first value
# allows a quick retry after a short outage. Agents add up to as much jitter again to the longest
# one: all are back within two minutes after the database returns.
_OUTAGE_FIRST_SECONDS, _OUTAGE_LONGEST_SECONDS = 5.0, 45.0
_OUTAGE_RETRIES_PER_SECOND = 100
# Initial estimates: an agent's usual batch size, and its service time on a busy disk.
_INITIAL_EVENTS, _INITIAL_SECONDS = 100.0, 0.1
# Weight of the newest value in the moving averages: the last few dozen matter.
_WEIGHT = 1 / 16
# Retry-After of a sender with too many requests of its own in progress.
_OWN_EXCESS_SECONDS = 5


class Overloaded(Exception):  # noqa: N818 - an answer to a caller, not a fault
    """Head office is overloaded; retry after `retry_after_seconds`."""

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__("overloaded")
        self.retry_after_seconds = retry_after_seconds


class OverItsShare(Overloaded):
    """The sender has more requests, bytes or events in progress than its share."""

    def __init__(self, retry_after_seconds: float = _OWN_EXCESS_SECONDS) -> None:
        super().__init__(max(1, math.ceil(min(retry_after_seconds, LONGEST_SECONDS))))


class LoadShedder:
    """Limits events per second and requests in flight. `now_seconds` is a monotonic clock."""

    def __init__(
        self, max_in_flight: int, events_per_second: int, now_seconds: Callable[[], float]
    ) -> None:
        self.max_in_flight = max_in_flight
        self._now_seconds = now_seconds
        self._bucket = FairTokenBucket(events_per_second, now_seconds())
        self._retries = RetryAfterAllocator(LONGEST_SECONDS)
        self._outage_retries = RetryAfterAllocator(_OUTAGE_LONGEST_SECONDS)
        self._outages = 0
        self._average_events = _INITIAL_EVENTS
        self._average_seconds = _INITIAL_SECONDS

    def check(self, sender: AgentName, waiting: int = 0) -> None:
        """Raise `Overloaded` if not even one event of the sender would be admitted now.

        `waiting` is the number of senders that wait for a concurrency slot.
        """
        now = self._now_seconds()
        verdict = self._bucket.ask(sender, now)
        if verdict is RateDecision.OVER_ITS_SHARE:
            raise OverItsShare(self._bucket.wait_seconds(sender, now))
        is_queue_full = waiting * self._average_seconds > _QUEUE_SECONDS * self.max_in_flight
        if is_queue_full or verdict is RateDecision.OVERLOADED:
            raise self.rejection(sender)

    @contextmanager
    def admitted_events(self, sender: AgentName, events: int) -> Iterator[None]:
        """Take the events of a batch from the bucket; give them back if the batch fails.

        Raises `Overloaded` if the bucket is empty, or the sender's share of it is used up.
        """
        self.check(sender)
        taken = self._bucket.take(sender, events, self._now_seconds())
        try:
            yield
        except BaseException:
            self._bucket.give_back(sender, taken)
            raise
        self._average_events += (max(events, 1) - self._average_events) * _WEIGHT

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Update the moving average of the service time; failed requests do not count."""
        began = self._now_seconds()
        yield
        self._average_seconds += (self._now_seconds() - began - self._average_seconds) * _WEIGHT

    def rejection(self, sender: AgentName) -> Overloaded:
        """Return a rejection with the sender's Retry-After slot."""
        now = self._now_seconds()
        not_before, seconds = self._bucket.refilled_at(now), self._seconds_per_request()
        return Overloaded(self._retries.allocate(sender, now, seconds, not_before))

    def outage_retry_after(self) -> int:
        """Return the Retry-After in seconds to send while the database is down.

        Its senders are unknown: their tokens are in the database.
        """
        now = self._now_seconds()
        per_second = min(
            self._bucket.rate or _OUTAGE_RETRIES_PER_SECOND, _OUTAGE_RETRIES_PER_SECOND
        )
        self._outages += 1
        first = now + _OUTAGE_FIRST_SECONDS
        return self._outage_retries.allocate(self._outages, now, 1 / per_second, first)

    def _seconds_per_request(self) -> float:
        """Return the time per request by the tighter limit: concurrency or rate."""
        by_concurrency = self._average_seconds / self.max_in_flight
        rate = self._bucket.rate
        return max(by_concurrency, self._average_events / rate) if rate else by_concurrency
