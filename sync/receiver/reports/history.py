"""Hourly figures of the last two days, of the chain or of one store, for the charts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, RowMapping, func, select

from sync.receiver.db.tables import hours
from sync.receiver.ingest.hourly_rollup import ANSWERS, COUNTS, LONGEST_LAG, hour_of

HOURS_SHOWN = 48
_AN_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class HourTotals:
    """One hour over all tills: captures that occurred in it, lag of events received in it."""

    hour: datetime
    sessions: int = 0
    accepted: int = 0
    deferred: int = 0
    declined: int = 0
    other_answers: int = 0
    mean_lag_seconds: float | None = None
    longest_lag_seconds: int | None = None


def columns(history: Sequence[HourTotals]) -> dict[str, list[float | None]]:
    """Return one list per quantity, as the charts read them; times in Unix seconds."""
    names = ("sessions", *ANSWERS, "mean_lag_seconds", "longest_lag_seconds")
    times: list[float | None] = [one.hour.timestamp() for one in history]
    return {"hour": times, **{name: [getattr(one, name) for one in history] for name in names}}


def read_history(connection: Connection, now: datetime, store_id: str | None) -> list[HourTotals]:
    """Return the last `HOURS_SHOWN` hours of one store, or of all; the current one last."""
    last = hour_of(now)
    first = last - (HOURS_SHOWN - 1) * _AN_HOUR
    sums = (func.sum(hours.c[name]).label(name) for name in COUNTS)
    longest = func.max(hours.c[LONGEST_LAG]).label(LONGEST_LAG)
    rows = (
        select(hours.c.hour, *sums, longest)
        .where(hours.c.hour.between(first, last))
        .group_by(hours.c.hour)
    )
    if store_id is not None:
        rows = rows.where(hours.c.store_id == store_id)
    found = {row["hour"]: row for row in connection.execute(rows).mappings()}
    times = (first + number * _AN_HOUR for number in range(HOURS_SHOWN))
    return [_totals(at, found.get(at)) for at in times]


def _totals(at: datetime, row: RowMapping | None) -> HourTotals:
    if row is None:
        return HourTotals(at)
    arrived = int(row["arrived"])
    return HourTotals(
        hour=at,
        **{name: int(row[name]) for name in ("sessions", *ANSWERS, "other_answers")},
        mean_lag_seconds=int(row["lag_seconds"]) / arrived if arrived else None,
        longest_lag_seconds=int(row[LONGEST_LAG]) if arrived else None,
    )
