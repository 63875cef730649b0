"""When to try again: pure rules, no clock and no dice of their own."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import assert_never

from sync.delivery.outcomes import Hold, Trouble, TryLater

MAX_RETRY_AFTER_SECONDS = 3_600.0
# While the store's own line is down, trying costs nobody else anything, and the line that comes
# back is to be noticed within seconds.
LINE_CAP_SECONDS = 5.0
# Where nobody answers, it can be the line or head office, which all stores then try to reach. At
# first it is taken for the line. With connections that time out after 10 s these failures take
# four minutes; a name that was known when the line failed is forgotten about then.
FAILURES_IN_DOUBT = 20
_MOST_DOUBLINGS = 32


@dataclass(frozen=True, slots=True)
class RetryRules:
    """Seconds of the first and the longest wait, and the store's own share of a wait, 0 to 1.

    The `slot` is the same for ever: told to come back at one moment, the stores of a chain
    come one after another.
    """

    base_seconds: float
    cap_seconds: float
    slot: float


@dataclass(frozen=True, slots=True)
class Backoff:
    """How often in a row it failed. Outlives the pass: a failure never begins from the start."""

    failures: int = 0

    @property
    def is_probing(self) -> bool:
        """Whether a single event has to get through before the flood."""
        return self.failures > 0

    def failed(self) -> "Backoff":
        """Return the state after one more failure."""
        return Backoff(self.failures + 1)

    def wait_seconds(
        self, outcome: Hold | TryLater, rules: RetryRules, dice: Callable[[], float]
    ) -> float:
        """Return how long to wait after `outcome`, which `failed` has counted; `dice`: 0 to 1.

        A wait that central asked for is kept to, and spread by the slot. Where central has so
        many callers that it gave this one a moment of its own (429), that is all; else all may
        have been told the same, and our own wait goes on growing. One that is shorter than the
        first wait says only that central is to be left alone.
        """
        own_seconds = self._own_wait_seconds(self._cap_seconds(outcome, rules), rules, dice)
        match outcome:
            case TryLater(retry_after_seconds=float(asked)) if asked < rules.base_seconds:
                return max(asked, own_seconds)
            case TryLater(retry_after_seconds=float(asked)):
                spread_seconds = spread(min(asked, MAX_RETRY_AFTER_SECONDS), rules)
                is_own_moment = outcome.http_status == HTTPStatus.TOO_MANY_REQUESTS
                return spread_seconds if is_own_moment else max(spread_seconds, own_seconds)
            case TryLater() | Hold():
                return own_seconds
            case _:
                assert_never(outcome)

    def _own_wait_seconds(
        self, cap_seconds: float, rules: RetryRules, dice: Callable[[], float]
    ) -> float:
        """Double up to the cap; the jitter comes after the cap, where it cannot vanish."""
        longest = min(cap_seconds, _doubled(rules.base_seconds, self.failures - 1))
        shortest = min(cap_seconds, rules.base_seconds) / 2
        return shortest + (longest - shortest) * dice()

    def _cap_seconds(self, outcome: Hold | TryLater, rules: RetryRules) -> float:
        match outcome:
            case TryLater(trouble=Trouble.NO_LINE):
                return min(LINE_CAP_SECONDS, rules.cap_seconds)
            case TryLater(trouble=Trouble.NO_CONNECTION | Trouble.CLOCK):
                failures_since = max(0, self.failures - FAILURES_IN_DOUBT)
                return min(_doubled(LINE_CAP_SECONDS, failures_since), rules.cap_seconds)
            case TryLater() | Hold():
                return rules.cap_seconds
            case _:
                assert_never(outcome)


def _doubled(seconds: float, times: int) -> float:
    return seconds * 2.0 ** min(times, _MOST_DOUBLINGS)


def slot_of(store_id: str, till_id: str) -> float:
    """Return a machine's slot, from 0 to 1."""
    digest = hashlib.sha256(f"{store_id}/{till_id}".encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32


def spread(asked_seconds: float, rules: RetryRules) -> float:
    """Return a wait of at least `asked_seconds`, each store in its own slot after it."""
    return asked_seconds + rules.slot * min(rules.cap_seconds, asked_seconds)


def retry_after(header: str | None, date: str | None, now: datetime) -> float | None:
    """Return the seconds that `Retry-After` asks for, at most an hour; None where it says nothing.

    Seconds or an HTTP date (RFC 9110, 10.2.3). A date is counted from the answer's own `date`,
    as our clock may be wrong; from `now` (aware) where that is missing.
    """
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        seconds = float(text[:9])
    else:
        moment = _moment(text)
        if moment is None:
            return None
        seconds = (moment - (_moment(date) or now)).total_seconds()
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
