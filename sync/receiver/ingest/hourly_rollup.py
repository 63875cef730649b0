"""Hourly rollup per till: captures by kind, and their delivery lag. Pure, no I/O.

Captures count in the hour in which they happened, or arrived if that is unknown; arrivals and
their lag count in the hour of arrival. The plots read these sums, so that no page has to count
the events of a whole chain.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from sync.receiver.ingest.ledger_state import AcceptedBatch

ANSWERS = ("accepted", "deferred", "declined")
COUNTS = ("sessions", *ANSWERS, "other_answers", "arrived", "lag_seconds")
LONGEST_LAG = "longest_lag_seconds"
_HOUR, _ZERO = timedelta(hours=1), timedelta()


def hour_of(at: datetime) -> datetime:
    """Return the start of the hour that contains `at`."""
    return at.replace(minute=0, second=0, microsecond=0)


def roll_up(
    accepted: AcceptedBatch,
    corrected_times: Mapping[int, datetime | None],
    received_at: datetime,
) -> list[dict[str, object]]:
    """Return one row of increments per hour that the batch touches, in order."""
    this_hour = hour_of(received_at)
    sums: defaultdict[datetime, Counter[str]] = defaultdict(Counter)
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
        # No negative lags: a till's clock may be ahead of ours within the tolerance.
        lags.append(max(received_at - occurred_at, _ZERO))
    if lags:
        arrived = {"arrived": len(lags), "lag_seconds": _seconds(sum(lags, _ZERO))}
        sums[this_hour].update(arrived | {LONGEST_LAG: _seconds(max(lags))})
    names = (*COUNTS, LONGEST_LAG)
    return [{"hour": hour} | {name: sums[hour][name] for name in names} for hour in sorted(sums)]


def _kinds(accepted: AcceptedBatch) -> Iterable[tuple[int, str]]:
    for session in accepted.sessions:
        yield session.sequence, "sessions"
    for answer in accepted.answers:
        yield answer.sequence, answer.status if answer.status in ANSWERS else "other_answers"


def _seconds(lag: timedelta) -> int:
    return round(lag.total_seconds())
