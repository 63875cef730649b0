"""What a batch adds to the hours of its till: captures by kind, and how late they came. No I/O.

Captures count in the hour in which they happened, or came if that cannot be told; arrivals and
their lag in the hour in which they came. The plots are drawn from these sums: nobody counts the
events of a chain anew.
"""

from collections import defaultdict
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
    sums: defaultdict[datetime, dict[str, int]] = defaultdict(_nothing)
    lags = []
    for sequence, kind in _kinds(taken):
        happened_at = corrected[sequence]
        sums[hour_of(happened_at or received_at)][kind] += 1
        if happened_at is not None:
            lags.append(_seconds(received_at - happened_at))
    if lags:
        arrivals = {"arrived": len(lags), "lag_seconds": sum(lags), LONGEST: max(lags)}
        sums[hour_of(received_at)].update(arrivals)
    return [{"hour": at, **counts} for at, counts in sorted(sums.items())]


def _nothing() -> dict[str, int]:
    return dict.fromkeys((*COUNTS, LONGEST), 0)


def _kinds(taken: Taken) -> Iterable[tuple[int, str]]:
    for session in taken.sessions:
        yield session.sequence, "sessions"
    for answer in taken.answers:
        yield answer.sequence, answer.status if answer.status in ANSWERS else "other_answers"


def _seconds(lag: timedelta) -> int:
    # A clock within its tolerance may be ahead of ours.
    return max(0, round(lag.total_seconds()))
