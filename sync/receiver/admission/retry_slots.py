"""When those who are turned away are to come again: one after the other. No I/O, no clock."""

import math

# What a difference of clock readings may be wrong by; it must not make a second more.
_ROUNDING = 1e-6


class Bookings:
    """A queue that nobody stands in: whoever is turned away is told when its place comes up.

    A place is booked for as long as serving one takes, and is gone once its time is past. It
    is held for nobody: who comes at its time finds about as much room as it needs, as the
    others were told other times.

    Nobody is told to wait for longer than `longest_seconds`. Beyond that the queue begins its
    second half anew, so that those who do not fit are spread as well, and not all told the
    same last second.
    """

    def __init__(self, longest_seconds: float) -> None:
        self._longest = longest_seconds
        self._free_at = -math.inf

    def book(self, now: float, seconds_each: float, not_before: float = -math.inf) -> int:
        """Return in how many whole seconds, at least one, the next place comes up.

        `now` is a clock that never steps. It is one of those places that last `seconds_each`;
        `not_before`: there is no room before that moment.
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
