"""The hours of the day in which nothing is delivered."""

from collections.abc import Callable
from datetime import datetime, time


def quiet_hours(text: str, local_now: Callable[[], datetime]) -> Callable[[], bool]:
    """Return what tells whether it is quiet now.

    `text` is local time such as `22:00-06:00`, over midnight where the end comes before the
    beginning; empty for never. The last minute belongs to the day again.
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
