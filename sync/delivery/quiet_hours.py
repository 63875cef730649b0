"""Quiet hours: the time of day without delivery."""

from collections.abc import Callable
from datetime import datetime, time


def quiet_hours(text: str, local_now: Callable[[], datetime]) -> Callable[[], bool]:
    """Return a function that returns whether quiet hours are on.

    `text` is local time such as `22:00-06:00`, across midnight if the end is before the start;
    empty for never. The end is exclusive.
    """
    if not text:
        return lambda: False
    begin, end = (time.fromisoformat(part.strip()) for part in text.split("-"))

    def is_quiet() -> bool:
        now = local_now().time()
        if begin <= end:
            return begin <= now < end
        return now >= begin or now < end

    return is_quiet
