"""How much is taken, and when to come again with what is not taken now. No I/O.

Whoever is refused is booked a place behind those refused before (`Bookings`), each as long as
serving what one sender brings takes. How much it brings, nobody knows before it is decoded, and
it is refused before that: decoding is most of the work. So it is taken to be what those brought
who were let in lately: single events while a chain tries whether head office is back, whole
batches while it empties its queues. It is never less than an event: not more are told to come
in a second than events are let in.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sync.receiver.admission.retry_slots import Bookings

# As long as an agent heeds (`sync.delivery.backoff`).
LONGEST_SECONDS = 3_600.0
# So much may be let in ahead: what comes in one second need not come evenly. With it, no second
# has more than twice the limit so long as a batch is not larger than half of it.
_AHEAD_SECONDS = 0.5
# A line for the places that takes longer than this to be served is not joined.
_LINE_SECONDS = 1.0
# While the database is away every store is refused within the same seconds. What can be mended
# in seconds is tried again after the first of these; and after the last one, to which an agent
# adds as much again at most, all have been back within two minutes of its return.
_AWAY_FIRST_SECONDS, _AWAY_LONGEST_SECONDS = 5.0, 45.0
_AWAY_PER_SECOND = 100
# Before anything was taken: an agent's usual batch, and its way through a busy disk.
_EVENTS_AT_FIRST, _SECONDS_AT_FIRST = 100.0, 0.1
# The part of a mean that the newest one makes up: the last few dozen count.
_NEWEST = 1 / 16


class TooBusy(Exception):  # noqa: N818 - an answer to a caller, not a fault
    """There is too much to do at the moment: come again after `retry_after_seconds`."""

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__("too much to do")
        self.retry_after_seconds = retry_after_seconds


class Intake:
    """The rules of `[intake]`. `now_seconds` is a clock that never steps."""

    def __init__(
        self, max_in_flight: int, events_per_second: int, now_seconds: Callable[[], float]
    ) -> None:
        self.max_in_flight = max_in_flight
        self._rate = events_per_second
        self._now_seconds = now_seconds
        self._paid_until = now_seconds()
        self._bookings = Bookings(LONGEST_SECONDS)
        self._away_bookings = Bookings(_AWAY_LONGEST_SECONDS)
        self._usual_events = _EVENTS_AT_FIRST
        self._usual_seconds = _SECONDS_AT_FIRST

    def check(self, waiting: int = 0) -> None:
        """Raise `TooBusy` when not even one event would be let in now.

        `waiting`: how many wait for a place already.
        """
        if waiting * self._usual_seconds > _LINE_SECONDS * self.max_in_flight:
            raise self.too_busy()
        if self._rate and self._paid_until > self._now_seconds() + _AHEAD_SECONDS:
            raise self.too_busy()

    def admit(self, events: int) -> None:
        """Let so many events in, or raise `TooBusy` when the last ones are not paid for yet."""
        self.check()
        self._usual_events += (max(events, 1) - self._usual_events) * _NEWEST
        if self._rate:
            self._paid_until = max(self._paid_until, self._now_seconds()) + events / self._rate

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Learn from how long the body runs how long one is in hand; a failure says nothing."""
        began = self._now_seconds()
        yield
        self._usual_seconds += (self._now_seconds() - began - self._usual_seconds) * _NEWEST

    def too_busy(self) -> TooBusy:
        """Return the refusal of whoever comes now, with a place booked for it."""
        room_at = self._paid_until - _AHEAD_SECONDS
        return TooBusy(self._bookings.book(self._now_seconds(), self._seconds_each(), room_at))

    def seconds_while_away(self) -> int:
        """Return when to come again who comes while nothing can be taken at all."""
        now = self._now_seconds()
        per_second = min(self._rate or _AWAY_PER_SECOND, _AWAY_PER_SECOND)
        return self._away_bookings.book(now, 1 / per_second, now + _AWAY_FIRST_SECONDS)

    def _seconds_each(self) -> float:
        """Return how long it takes until the next one can be served: the slower rule decides."""
        in_hand = self._usual_seconds / self.max_in_flight
        return max(in_hand, self._usual_events / self._rate) if self._rate else in_hand
