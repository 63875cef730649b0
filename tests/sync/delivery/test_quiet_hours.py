"""Quiet hours: the time of day without delivery."""

from datetime import datetime

import pytest

from sync.delivery.throttle import quiet_hours


@pytest.mark.parametrize(
    ("text", "clock", "quiet"),
    [
        ("", "03:00", False),
        ("22:00-06:00", "21:59:59", False),
        ("22:00-06:00", "22:00", True),
        ("22:00-06:00", "00:00", True),
        ("22:00-06:00", "05:59:59", True),
        ("22:00-06:00", "06:00", False),
        ("12:00-13:30", "12:00", True),
        ("12:00-13:30", "13:29:59", True),
        ("12:00-13:30", "13:30", False),
        ("12:00-13:30", "00:00", False),
    ],
)
def test_quiet_hours_include_the_start_and_exclude_the_end(
    text: str, clock: str, *, quiet: bool
) -> None:
    is_quiet = quiet_hours(text, lambda: datetime.fromisoformat(f"2026-01-01T{clock}"))

    assert is_quiet() is quiet
