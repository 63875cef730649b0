"""Checks how long the certificate that a service presents is valid."""

from datetime import UTC, datetime
from pathlib import Path

from sync.runtime.cli.printing import count
from sync.runtime.network.own_certificate import days_until, read_end

WARNING_DAYS = 30


def describe_end(end: datetime, now: datetime) -> tuple[str, bool, bool]:
    """Return a description, and two flags: the certificate ends soon; it has ended."""
    days = days_until(end, now)
    if end <= now:
        return f"it expired on {end:%Y-%m-%d}", True, True
    return f"it expires in {count(days, 'day')}, on {end:%Y-%m-%d}", days < WARNING_DAYS, False


def expiry_warning(certificate: Path | None, setting: str) -> list[str]:
    """Return one line if the certificate of a setting has expired or expires soon."""
    end = read_end(certificate) if certificate else None
    if end is None:
        return []
    described, is_soon, _ = describe_end(end, datetime.now(UTC))
    return [f"{certificate}: {setting}: {described}: renew it"] if is_soon else []
