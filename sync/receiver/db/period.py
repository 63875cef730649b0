"""Half-open periods of time: parsed from days or times, and as conditions of statements.

A day without an offset is in UTC; `2026-11-23+01:00` is a day in that offset. A capture belongs to
the period of its corrected time. If that is unknown (the till's clock was wrong), its time of
receipt counts, which is never earlier than the capture.
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
    """Times from `since` (inclusive) to `until` (exclusive); None means unbounded."""

    since: datetime | None = None
    until: datetime | None = None

    def __bool__(self) -> bool:
        """Return whether the period has a bound."""
        return self.since is not None or self.until is not None

    def contains(self, time: ColumnElement[datetime]) -> ColumnElement[bool]:
        """Return the SQL condition that `time` is in the period."""
        since = true() if self.since is None else time >= self.since
        return and_(since, true() if self.until is None else time < self.until)

    def members(self) -> dict[str, str]:
        """Return the bounds as members of a JSON object."""
        bounds = {"from": self.since, "to": self.until}
        return {name: to_rfc3339(at, "milliseconds") for name, at in bounds.items() if at}


EVER = Period()


def captured_at(table: FromClause) -> ColumnElement[datetime]:
    """Return the expression of the time that places a session or an answer in a period."""
    return func.coalesce(table.c.corrected_at, table.c.received_at, type_=table.c.received_at.type)


def parse_time(text: str) -> datetime:
    """Parse a time, or a day, which means its start. Raises `ValueError`."""
    day = _DAY.fullmatch(text)
    moment = from_rfc3339(f"{day[1]}T00:00{day[2] or 'Z'}" if day else text)
    if moment is None:
        raise ValueError(EXPECTED)
    return moment


def parse_period(since: str | None, until: str | None) -> Period:
    """Parse the bounds of a period. Raises `ValueError` also if the period is empty."""
    begin = None if since is None else parse_time(since)
    end = None if until is None else parse_time(until)
    if begin is not None and end is not None and begin >= end:
        raise ValueError("the end must be later than the beginning, which is included")
    return Period(begin, end)
