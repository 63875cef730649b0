"""Checks how long the certificate that a service presents is valid."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from sync.runtime.cli.printing import count

WARNING_DAYS = 30


def read_end(certificate: Path) -> datetime | None:
    """Return until when the first certificate in a PEM file is valid; None if it has none."""
    try:
        return x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
    except (OSError, ValueError, ssl.SSLError):
        return None


def describe_end(end: datetime, now: datetime) -> tuple[str, bool, bool]:
    """Return a description, and two flags: the certificate ends soon; it has ended."""
    days = (end - now) // timedelta(days=1)
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
