"""Who sends, and when: what the documents of `batch` say of this machine."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LOWEST_US, _HIGHEST_US = (
    (moment.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
    for moment in (datetime.min, datetime.max)  # noqa: DTZ901 - made aware here
)


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
    moment = _EPOCH + timedelta(microseconds=min(max(wall_us, _LOWEST_US), _HIGHEST_US))
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
