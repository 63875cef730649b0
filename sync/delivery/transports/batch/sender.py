"""Formats times of `batch` documents (RFC 3339)."""

from datetime import UTC, datetime

_WHOLE_SECONDS = len("2026-01-01T00:00:00")
_LOWEST_US, _HIGHEST_US = -62_135_596_800_000_000, 253_402_300_799_999_999  # years 1 and 9999


def rfc3339(wall_us: int) -> str:
    """Return microseconds since 1970 as RFC 3339 in UTC, clamped to the years 1 to 9999."""
    if not _LOWEST_US <= wall_us <= _HIGHEST_US:
        wall_us = min(max(wall_us, _LOWEST_US), _HIGHEST_US)
    seconds, microseconds = divmod(wall_us, 1_000_000)
    # Integer arithmetic: a float of seconds would lose microseconds.
    whole = datetime.fromtimestamp(seconds, UTC).isoformat()[:_WHOLE_SECONDS]
    return f"{whole}.{microseconds:06}Z"
