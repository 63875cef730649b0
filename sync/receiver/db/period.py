"""Periods of time: half-open, given as days or as times with an offset.

A day without an offset is one of UTC; `2026-11-23+01:00` is a day of that offset. A capture counts
by its corrected time. If that is unknown (the till's clock was wrong), it counts by its time of
receipt, which is never earlier than the capture.
"""

import re
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, FromClause, and_, func, true

from sync.protocol.rfc3339 import from_rfc3339, to_rfc3339

EXPECTED = (
    "expected a day such as 2026-03-01 (UTC) or 2026-03-01+01:00, or a time such as"
    " 2026-03-01T08:00Z"
)
_DAY = re.compile(r"(\d{4}-\d{2}-\d{2})(Z|[+-]\d{2}:\d{2})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Period:
    """Times from `since` on and before `until`; None means unbounded."""

    since: datetime | None = None
    until: datetime | None = None

    @property
    def is_empty(self) -> bool:
        """Return whether no time is in it."""
        return self.since is not None and self.until is not None and self.since >= self.until

    def __bool__(self) -> bool:
        """Return whether it has a bound."""
        return self.since is not None or self.until is not None

    def contains(self, time: ColumnElement[datetime]) -> ColumnElement[bool]:
        """Return the condition that a time is in the period."""
        since = true() if self.since is None else time >= self.since
        return and_(since, true() if self.until is None else time < self.until)

    def members(self) -> dict[str, str]:
        """Return the bounds as members of a JSON object."""
        bounds = {"from": self.since, "to": self.until}
        return {name: to_rfc3339(at, "milliseconds") for name, at in bounds.items() if at}


EVER = Period()


def captured_at(table: FromClause) -> ColumnElement[datetime]:
    """Return the time by which a session or an answer counts."""
    return func.coalesce(table.c.corrected_at, table.c.received_at, type_=table.c.received_at.type)


def parse_time(text: str) -> datetime:
    """Parse a time, or a day as its start. Raises `ValueError`."""
    day = _DAY.fullmatch(text)
    moment = from_rfc3339(f"{day[1]}T00:00{day[2] or 'Z'}" if day else text)
    if moment is None:
        raise ValueError(EXPECTED)
    return moment


def parse_period(since: str | None, until: str | None) -> Period:
    """Parse the bounds of a period. Raises `ValueError` also if it is empty."""
    period = Period(
        None if since is None else parse_time(since), None if until is None else parse_time(until)
    )
    if period.is_empty:
        raise ValueError("the end must be later than the beginning, which is included")
    return period
