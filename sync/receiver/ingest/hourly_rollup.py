"""What a batch adds to the hours of its till: captures by kind, and how late they came. No I/O.

Captures count in the hour in which they happened, or came if that cannot be told; arrivals and
their lag in the hour in which they came. The plots are drawn from these sums: nobody counts the
events of a chain anew.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from sync.receiver.ingest.accept import Taken

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
    sums: defaultdict[datetime, dict[str, int]] = defaultdict(_nothing)
    hour, end = this_hour, this_hour + _AN_HOUR
    lags = []
    for sequence, kind in _kinds(taken):
        happened_at = corrected[sequence]
        if happened_at is None:
            sums[this_hour][kind] += 1
            continue
        # Most happened in the hour of the one before.
        if not hour <= happened_at < end:
            hour = hour_of(happened_at)
            end = hour + _AN_HOUR
        sums[hour][kind] += 1
        lags.append(received_at - happened_at)
    if lags:
        sums[this_hour].update(_arrivals(lags))
    return [{"hour": hour, **counts} for hour, counts in sorted(sums.items())]


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
