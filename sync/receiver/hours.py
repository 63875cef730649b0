"""What a batch adds to the hours of its till: captures by kind, and how late they came. No I/O.

Captures count in the hour in which they happened, or came if that cannot be told; arrivals and
their lag in the hour in which they came. The plots are drawn from these sums: nobody counts the
events of a chain anew.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from sync.receiver.accept import Taken

ANSWERS = ("accepted", "deferred", "declined")
COUNTS = ("sessions", *ANSWERS, "other_answers", "arrived", "lag_seconds")
LONGEST = "longest_lag_seconds"
_AN_HOUR, _NONE = timedelta(hours=1), timedelta()


def hour_of(at: datetime) -> datetime:
    """Return the beginning of the hour of a moment in UTC."""
    return at.replace(minute=0, second=0, microsecond=0)


def hours_of(
    taken: Taken, corrected: Mapping[int, datetime | None], received_at: datetime
) -> list[dict[str, object]]:
    """Return the hours that a batch adds to, in their order, each with every count."""
    this_hour = hour_of(received_at)
    counted: Counter[tuple[int, str]] = Counter()
    lags = []
    for sequence, kind in _kinds(taken):
        happened_at = corrected[sequence]
        if happened_at is None:
            counted[0, kind] += 1
        else:
            counted[(happened_at - this_hour) // _AN_HOUR, kind] += 1
            lags.append(received_at - happened_at)
    sums: defaultdict[int, dict[str, int]] = defaultdict(_nothing)
    for (distance, kind), count in counted.items():
        sums[distance][kind] = count
    if lags:
        sums[0].update(_arrivals(lags))
    return [
        {"hour": this_hour + distance * _AN_HOUR, **counts}
        for distance, counts in sorted(sums.items())
    ]


def _nothing() -> dict[str, int]:
    return dict.fromkeys((*COUNTS, LONGEST), 0)


def _kinds(taken: Taken) -> Iterable[tuple[int, str]]:
    for session in taken.sessions:
        yield session.sequence, "sessions"
    for answer in taken.answers:
        yield answer.sequence, answer.status if answer.status in ANSWERS else "other_answers"


def _arrivals(lags: Sequence[timedelta]) -> dict[str, int]:
    # A clock within its tolerance may be ahead of ours.
    late = [lag for lag in lags if lag > _NONE]
    lag_seconds = round(sum(late, _NONE).total_seconds())
    longest_seconds = round(max(late, default=_NONE).total_seconds())
    return {"arrived": len(lags), "lag_seconds": lag_seconds, LONGEST: longest_seconds}
