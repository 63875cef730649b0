"""How much is taken at one time; what is beyond is asked to come again later."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sync.receiver.problems import too_busy

_COME_AGAIN_SECONDS = 1


class Intake:
    """The rules of `[intake]`. `now_seconds` is a clock that never steps."""

    def __init__(
        self, max_in_flight: int, events_per_second: int, now_seconds: Callable[[], float]
    ) -> None:
        self._free = max_in_flight
        self._rate = events_per_second
        self._now_seconds = now_seconds
        self._paid_until = now_seconds()

    @contextmanager
    def one_batch(self) -> Iterator[None]:
        """Hold a place while a batch is in hand; raises a `Problem` when there is none left."""
        if self._free == 0:
            raise too_busy(_COME_AGAIN_SECONDS)
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1

    def admit(self, events: int) -> None:
        """Let so many events in, or raise a `Problem` when the last ones are not paid for yet."""
        if self._rate == 0:
            return
        now = self._now_seconds()
        if self._paid_until > now + 1:
            raise too_busy(math.ceil(self._paid_until - now))
        self._paid_until = max(self._paid_until, now) + events / self._rate
