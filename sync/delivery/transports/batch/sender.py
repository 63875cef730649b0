"""Who sends, and when: what the documents of `batch` say of this machine."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

_WHOLE_SECONDS = len("2026-01-01T00:00:00")
_LOWEST_US, _HIGHEST_US = -62_135_596_800_000_000, 253_402_300_799_999_999  # years 1 and 9999


class Moment(Protocol):
    """A reading of both clocks, in microseconds: the wall's, and the one that never steps."""

    @property
    def wall_us(self) -> int:
        """The time of day, since 1970."""

    @property
    def monotonic_us(self) -> int:
        """The time since the machine's start."""


@dataclass(frozen=True, slots=True)
class Sender:
    """The machine's name at head office, its present start, its version and its clocks."""

    store_id: str
    till_id: str
    boot_id: str
    agent_version: str
    clock: Callable[[], Moment]


def rfc3339(wall_us: int) -> str:
    """Return microseconds since 1970 as RFC 3339 in UTC; a clock far out stops at the ends."""
    if not _LOWEST_US <= wall_us <= _HIGHEST_US:
        wall_us = min(max(wall_us, _LOWEST_US), _HIGHEST_US)
    seconds, microseconds = divmod(wall_us, 1_000_000)
    # In two parts: a float of seconds would lose microseconds.
    whole = datetime.fromtimestamp(seconds, UTC).isoformat()[:_WHOLE_SECONDS]
    return f"{whole}.{microseconds:06}Z"
