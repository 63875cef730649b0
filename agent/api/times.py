"""RFC 3339 formatting."""

from datetime import UTC, datetime


def iso_time(time_us: int) -> str:
    """Format microseconds since 1970 UTC as RFC 3339 with milliseconds."""
    moment = datetime.fromtimestamp(time_us / 1e6, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
