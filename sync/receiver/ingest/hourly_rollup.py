"""Hourly rollup per till: captures by kind, and their delivery lag. Pure, no I/O.

Captures count in the hour in which they happened, or arrived if that is unknown; arrivals and
their lag count in the hour of arrival. The plots read these sums, so that no page has to count
the events of a whole chain.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from sync.receiver.ingest.accept import AcceptedBatch

ANSWERS = ("accepted", "deferred", "declined")
COUNTS = ("sessions", *ANSWERS, "other_answers", "arrived", "lag_seconds")
LONGEST_LAG = "longest_lag_seconds"
_HOUR, _ZERO = timedelta(hours=1), timedelta()


def hour_of(at: datetime) -> datetime:
    """Return the start of the hour that contains `at`."""
    return at.replace(minute=0, second=0, microsecond=0)


def roll_up(
    accepted: AcceptedBatch, corrected_times: Mapping[int, datetime | None], received_at: datetime
) -> list[dict[str, object]]:
    """Return one row of increments per hour that the batch touches, in order."""
    this_hour = hour_of(received_at)
    sums: defaultdict[datetime, dict[str, int]] = defaultdict(_zeros)
    hour, end = this_hour, this_hour + _HOUR
    lags = []
    for sequence, kind in _kinds(accepted):
        occurred_at = corrected_times[sequence]
        if occurred_at is None:
            sums[this_hour][kind] += 1
            continue
        # Fast path: most events share the hour of the previous one.
        if not hour <= occurred_at < end:
            hour = hour_of(occurred_at)
            end = hour + _HOUR
        sums[hour][kind] += 1
        lags.append(received_at - occurred_at)
    if lags:
        sums[this_hour].update(_arrival_lags(lags))
    return [{"hour": hour, **counts} for hour, counts in sorted(sums.items())]


def _zeros() -> dict[str, int]:
    return dict.fromkeys((*COUNTS, LONGEST_LAG), 0)


def _kinds(accepted: AcceptedBatch) -> Iterable[tuple[int, str]]:
    for session in accepted.sessions:
        yield session.sequence, "sessions"
    for answer in accepted.answers:
        yield answer.sequence, answer.status if answer.status in ANSWERS else "other_answers"


def _arrival_lags(lags: Sequence[timedelta]) -> dict[str, int]:
    # Ignore negative lags: a till's clock may be ahead of ours within the tolerance.
    late = [lag for lag in lags if lag > _ZERO]
    lag_seconds = round(sum(late, _ZERO).total_seconds())
    longest_seconds = round(max(late, default=_ZERO).total_seconds())
    return {"arrived": len(lags), "lag_seconds": lag_seconds, LONGEST_LAG: longest_seconds}
