"""Queries for events: an id or number, a receipt, a store and time. Pure, no I/O."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from sync.receiver.db.period import Period

_RECEIPT = re.compile(r"([!-.0-~]{1,128})/([0-9]{1,18})")
_STORE_AND_TIME = re.compile(
    r"(\S+)\s+(\d{4}-\d{2}-\d{2})[ T](\d{2}:\d{2}(?::\d{2})?)\s*(Z|[+-]\d{2}:\d{2})?", re.ASCII
)
MAX_LENGTH = 1_000


@dataclass(frozen=True, slots=True)
class AskedReceipt:
    """A receipt as a person typed it: the epoch need not exist."""

    epoch: str
    sequence: int


@dataclass(frozen=True, slots=True)
class StoreAndTime:
    """A store, and about when something was captured there."""

    store_id: str
    at: datetime
    within: timedelta

    @property
    def period(self) -> Period:
        """The time around `at`; both ends are included."""
        return Period(self.at - self.within, self.at + self.within + timedelta(microseconds=1))


@dataclass(frozen=True, slots=True)
class Query:
    """The readings of a text: it can be an id or a number of the POS and look like another one."""

    text: str
    receipt: AskedReceipt | None = None
    store_and_time: StoreAndTime | None = None


def parse_query(text: str, zone: tzinfo | None, within: timedelta) -> Query:
    """Parse a typed query; `zone` is that of a local time without an offset.

    None is the zone of this machine. Raises `ValueError`.
    """
    text = text.strip()
    if not text or len(text) > MAX_LENGTH or "\0" in text:
        raise ValueError(f"expected 1 to {MAX_LENGTH} characters")
    receipt = None
    if match := _RECEIPT.fullmatch(text):
        receipt = AskedReceipt(match[1], int(match[2]))
    place = None
    if match := _STORE_AND_TIME.fullmatch(text):
        place = StoreAndTime(
            match[1], _time(f"{match[2]}T{match[3]}{match[4] or ''}", zone), within
        )
    return Query(text, receipt, place)


def _time(text: str, zone: tzinfo | None) -> datetime:
    try:
        at = datetime.fromisoformat(text)
        # A time without a zone is taken for one of this machine.
        return (at if at.tzinfo else at.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"there is no such time: {text}") from None
