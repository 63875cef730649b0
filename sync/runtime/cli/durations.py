"""Durations as people write them on a command line: `2h`, `90m`, `1d`, `1h30m`."""

import re
from datetime import timedelta

_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_PART = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)\s*([smhdw])\s*", re.IGNORECASE)
_EXPECTED = "expected a duration such as 90s, 30m, 2h, 1d or 1h30m"


def parse_duration(text: str) -> timedelta:
    """Parse a duration. Raises `ValueError`: a number without a unit could be of any."""
    seconds, end = 0.0, 0
    text = text.strip()
    while match := _PART.match(text, end):
        seconds += float(match[1]) * _UNITS[match[2].lower()]
        end = match.end()
    if not text or end != len(text):
        raise ValueError(_EXPECTED)
    try:
        return timedelta(seconds=seconds)
    except OverflowError:
        raise ValueError(_EXPECTED) from None
