"""Days that a certificate of this program has left."""

from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509

from sync.runtime.files.regular_file import read_regular

_DAY = timedelta(days=1)


def read_end(certificate: Path) -> datetime | None:
    """Return until when the first certificate in a PEM file is valid; None if it has none."""
    try:
        return x509.load_pem_x509_certificate(read_regular(certificate)).not_valid_after_utc
    except (OSError, ValueError):
        return None


def days_until(end: datetime, now: datetime) -> int:
    """Return the whole days from `now` until `end`; negative once it is over."""
    return (end - now) // _DAY
