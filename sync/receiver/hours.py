"""What a batch adds to the hours of its till: captures by kind, and how late they came. No I/O.

Captures count in the hour in which they happened, or came if that cannot be told; arrivals and
their lag in the hour in which they came. The plots are drawn from these sums: nobody counts the
events of a chain anew.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from sync.receiver.accept import Taken

ANSWERS = ("accepted", "deferred", "declined")
COUNTS = ("sessions", *ANSWERS, "other_answers", "arrived", "lag_seconds")
LONGEST = "longest_lag_seconds"


def hour_of(at: datetime) -> datetime:
    """Return the beginning of the hour of a moment in UTC."""
    return at.replace(minute=0, second=0, microsecond=0)


def hours_of(
    taken: Taken, corrected: Mapping[int, datetime | None], received_at: datetime
) -> list[dict[str, object]]:
    """Return the hours that a batch adds to, in their order, each with every count."""
    sums: dict[datetime, dict[str, int]] = {}

    def hour(at: datetime) -> dict[str, int]:
        return sums.setdefault(hour_of(at), dict.fromkeys((*COUNTS, LONGEST), 0))

    for sequence, kind in _kinds(taken):
        happened_at = corrected[sequence]
        hour(happened_at or received_at)[kind] += 1
        if happened_at is not None:
            _arrive(hour(received_at), received_at - happened_at)
    return [{"hour": at, **counts} for at, counts in sorted(sums.items())]


def _kinds(taken: Taken) -> Iterable[tuple[int, str]]:
    for session in taken.sessions:
        yield session.sequence, "sessions"
    for answer in taken.answers:
        yield answer.sequence, answer.status if answer.status in ANSWERS else "other_answers"


def _arrive(hour: dict[str, int], lag: timedelta) -> None:
    # A clock within its tolerance may be ahead of ours.
    seconds = max(0, round(lag.total_seconds()))
    hour["arrived"] += 1
    hour["lag_seconds"] += seconds
    hour[LONGEST] = max(hour[LONGEST], seconds)
