"""The certificates that the agent presents, with the days that each has left."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypedDict

from agent.api.responses import Time, timestamp
from sync.runtime.network.own_certificate import days_until, read_end


class CertificateReport(TypedDict):
    """A certificate that the agent presents; null: it cannot be read."""

    file: str
    expiresAt: Time | None
    daysLeft: int | None


def certificates_report(files: Sequence[Path], now_us: int) -> list[CertificateReport]:
    """Return the certificates that the agent presents, with the days that each has left."""
    now, ends = datetime.fromtimestamp(now_us / 1e6, UTC), map(read_end, files)
    return [
        {
            "file": str(file),
            "expiresAt": None if end is None else timestamp(round(end.timestamp() * 1e6)),
            "daysLeft": None if end is None else days_until(end, now),
        }
        for file, end in zip(files, ends, strict=True)
    ]
