"""When to try again: pure rules, no clock and no dice of their own."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import assert_never

from sync.outcomes import Hold, Trouble, TryLater

MAX_RETRY_AFTER_SECONDS = 3_600.0
# While nothing gets through to central, trying costs nobody else anything, and the line that
# comes back is to be noticed within seconds.
LINE_CAP_SECONDS = 5.0
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

        A wait that central asked for is kept to, and spread by the slot; one that is shorter
        than the first wait says only that central is to be left alone, so it grows like ours.
        """
        own_seconds = self._own_wait_seconds(_cap_seconds(outcome, rules), rules, dice)
        match outcome:
            case TryLater(retry_after_seconds=float(asked)) if asked < rules.base_seconds:
                return max(asked, own_seconds)
            case TryLater(retry_after_seconds=float(asked)):
                return spread(min(asked, MAX_RETRY_AFTER_SECONDS), rules)
            case TryLater() | Hold():
                return own_seconds
            case _:
                assert_never(outcome)

    def _own_wait_seconds(
        self, cap_seconds: float, rules: RetryRules, dice: Callable[[], float]
    ) -> float:
        """Double up to the cap; the jitter comes after the cap, where it cannot vanish."""
        exponent = min(self.failures - 1, _MOST_DOUBLINGS)
        longest = min(cap_seconds, rules.base_seconds * 2.0**exponent)
        shortest = min(cap_seconds, rules.base_seconds) / 2
        return shortest + (longest - shortest) * dice()


def _cap_seconds(outcome: Hold | TryLater, rules: RetryRules) -> float:
    match outcome:
        case TryLater(trouble=Trouble.NO_LINE | Trouble.CLOCK):
            return min(LINE_CAP_SECONDS, rules.cap_seconds)
        case TryLater() | Hold():
            return rules.cap_seconds
        case _:
            assert_never(outcome)


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
