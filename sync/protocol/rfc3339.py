"""RFC 3339 timestamps in UTC: the only format of times on the wire, in answers and in logs."""

from datetime import UTC, datetime, timedelta
from typing import Literal, TypeAlias

Precision: TypeAlias = Literal["milliseconds", "microseconds"]

# Naive UTC: each event of a batch is formatted, and with an offset it takes 40 % longer.
_EPOCH = datetime.fromtimestamp(0, UTC).replace(tzinfo=None)
_LOWEST, _HIGHEST = datetime.min, datetime.max  # noqa: DTZ901 - naive like the epoch
_LENGTHS: dict[str, int] = {
    "milliseconds": len("2026-01-01T00:00:00.000"),
    "microseconds": len("2026-01-01T00:00:00.000000"),
}


def to_rfc3339(moment: datetime, precision: Precision = "microseconds") -> str:
    """Format a UTC time. Equal precision gives equal lengths, so that texts sort by time."""
    return f"{moment.isoformat(timespec=precision)[: _LENGTHS[precision]]}Z"


def json_time(moment: datetime | None) -> str | None:
    """Format a UTC time, if there is one, as JSON documents have it: in milliseconds."""
    return None if moment is None else to_rfc3339(moment, "milliseconds")


def us_to_rfc3339(time_us: int, precision: Precision = "microseconds") -> str:
    """Format microseconds since 1970.

    A clock outside of the years 1 to 9999 is shown as the nearest time within them.
    """
    try:
        moment = _EPOCH + timedelta(microseconds=time_us)
    except OverflowError:
        moment = _LOWEST if time_us < 0 else _HIGHEST
    return f"{moment.isoformat(timespec=precision)}Z"


def from_rfc3339(text: str) -> datetime | None:
    """Parse a timestamp to UTC; None if it is not one.

    Accepts other ISO 8601 forms with an offset as well.
    """
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None
