"""Rate limit for events, and the Retry-After of rejected requests. No I/O.

Each rejected request gets a slot behind the previous ones (`RetryAfterAllocator`), as long as
serving one request takes. The size of a rejected batch is unknown: it is rejected before
decompression, which is most of the work. So the moving average of admitted batches stands in for
it: single events while a chain probes whether head office is back, full batches while it drains
its outboxes. It is at least one event, so that never more requests per second are scheduled than
events are admitted.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sync.receiver.admission.retry_slots import RetryAfterAllocator

# The longest Retry-After that an agent honours (`sync.delivery.backoff`).
LONGEST_SECONDS = 3_600.0
# Burst allowance: the events of one second need not be spread evenly. With it, no second exceeds
# twice the limit, as long as no batch is larger than half the limit.
_AHEAD_SECONDS = 0.5
# Reject early if the queue for concurrency slots would take longer than this to drain.
_LINE_SECONDS = 1.0
# While the database is down, every store is rejected within the same seconds. The first value
# allows a quick retry after a short outage. Agents add up to as much jitter again to the longest
# one: all are back within two minutes after the database returns.
_AWAY_FIRST_SECONDS, _AWAY_LONGEST_SECONDS = 5.0, 45.0
_AWAY_PER_SECOND = 100
# Initial estimates: an agent's usual batch size, and its service time on a busy disk.
_EVENTS_AT_FIRST, _SECONDS_AT_FIRST = 100.0, 0.1
# Weight of the newest value in the moving averages: the last few dozen matter.
_NEWEST = 1 / 16


class TooBusy(Exception):  # noqa: N818 - an answer to a caller, not a fault
    """Head office is overloaded; retry after `retry_after_seconds`."""

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__("too much to do")
        self.retry_after_seconds = retry_after_seconds


class Intake:
    """Rate limiter by the settings of `[intake]`. `now_seconds` is a monotonic clock."""

    def __init__(
        self, max_in_flight: int, events_per_second: int, now_seconds: Callable[[], float]
    ) -> None:
        self.max_in_flight = max_in_flight
        self._rate = events_per_second
        self._now_seconds = now_seconds
        self._paid_until = now_seconds()
        self._bookings = RetryAfterAllocator(LONGEST_SECONDS)
        self._away_bookings = RetryAfterAllocator(_AWAY_LONGEST_SECONDS)
        self._usual_events = _EVENTS_AT_FIRST
        self._usual_seconds = _SECONDS_AT_FIRST

    def check(self, waiting: int = 0) -> None:
        """Raise `TooBusy` if not even one event would be admitted now.

        `waiting` is the number of requests that wait for a concurrency slot.
        """
        if waiting * self._usual_seconds > _LINE_SECONDS * self.max_in_flight:
            raise self.too_busy()
        if self._rate and self._paid_until > self._now_seconds() + _AHEAD_SECONDS:
            raise self.too_busy()

    def admit(self, events: int) -> None:
        """Admit `events`, or raise `TooBusy` if the rate limit is exceeded."""
        self.check()
        self._usual_events += (max(events, 1) - self._usual_events) * _NEWEST
        if self._rate:
            self._paid_until = max(self._paid_until, self._now_seconds()) + events / self._rate

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Update the moving average of the service time; failed requests do not count."""
        began = self._now_seconds()
        yield
        self._usual_seconds += (self._now_seconds() - began - self._usual_seconds) * _NEWEST

    def too_busy(self) -> TooBusy:
        """Return a rejection with the next free Retry-After slot."""
        room_at = self._paid_until - _AHEAD_SECONDS
        return TooBusy(self._bookings.book(self._now_seconds(), self._seconds_each(), room_at))

    def seconds_while_away(self) -> int:
        """Return the Retry-After in seconds to send while the database is down."""
        now = self._now_seconds()
        per_second = min(self._rate or _AWAY_PER_SECOND, _AWAY_PER_SECOND)
        return self._away_bookings.book(now, 1 / per_second, now + _AWAY_FIRST_SECONDS)

    def _seconds_each(self) -> float:
        """Return the time per request by the tighter limit: concurrency or rate."""
        in_hand = self._usual_seconds / self.max_in_flight
        return max(in_hand, self._usual_events / self._rate) if self._rate else in_hand
