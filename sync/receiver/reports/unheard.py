"""Tills for which a report cannot speak: their newest captures may be unknown here.

A report is as of its time. A silent till may have captured more since it was last heard, and a till
that was switched off in order may hold captures that it announced. A report on a period speaks for
every till that was heard after the period's end. For the others that were switched off in order it
speaks up to then: started since without a line, they would look the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import func

from sync.protocol.rfc3339 import json_time
from sync.receiver.reports.conditions import CLOCK_WRONG_BEYOND, SILENT_AFTER, Condition
from sync.receiver.reports.tills import Reference, tills

MAX_NAMED = 1_000


@dataclass(frozen=True, slots=True)
class UnheardTill:
    """A till, and when it was last heard.

    Its state is `silent`, `closed-waiting`, or `delivering`: it was heard of late, but not since
    the end of the period.
    """

    store_id: str
    till_id: str
    state: Condition
    last_seen_at: datetime | None

    def members(self) -> dict[str, object]:
        """Return the till as members of a JSON object."""
        return {
            "storeId": self.store_id,
            "tillId": self.till_id,
            "state": self.state,
            "lastSeenAt": json_time(self.last_seen_at),
        }


@dataclass(frozen=True, slots=True)
class Unheard:
    """The first `MAX_NAMED` of `count` tills that a report cannot speak for.

    `not_installed` tills were never heard: there is nothing to speak for. `closed` ones were
    switched off in order, with all delivered, before the end of the report.
    """

    count: int
    tills: Sequence[UnheardTill]
    not_installed: int
    closed: int = 0

    def members(self) -> dict[str, object]:
        """Return the tills as members of a JSON object."""
        named = [one.members() for one in self.tills]
        cannot_speak_for = {"count": self.count, "tills": named}
        counts = {"notInstalled": self.not_installed, "closed": self.closed}
        return {"cannotSpeakFor": cannot_speak_for, **counts}


def unheard_tills(
    connection: sa.Connection,
    reference: Reference,
    store_id: str | None = None,
    until: datetime | None = None,
) -> Unheard:
    """Return the tills of one store or of all that a report up to `until` cannot speak for."""
    found, now = tills(reference, store_id), reference.now
    silent_before = now - SILENT_AFTER
    # No till can have been heard after the end of a period that goes on.
    heard_since = until if until is not None and until <= now else silent_before
    seen_at, is_open = found.c.last_seen_at, found.c.closed_at.is_(None)
    is_unheard = sa.or_(seen_at < heard_since, seen_at > now + CLOCK_WRONG_BEYOND)
    is_waiting = found.c[Condition.CLOSED_WAITING.column] > 0
    unheard = sa.or_(sa.and_(is_open, is_unheard), is_waiting)
    is_new = found.c[Condition.NOT_INSTALLED.column] > 0
    is_closed = sa.and_(found.c.closed_at < (until or now), sa.not_(unheard))
    counted = sa.select(
        func.count(sa.case((unheard, 1))).label("unheard"),
        func.count(sa.case((is_new, 1))).label("not_installed"),
        func.count(sa.case((is_closed, 1))).label("closed"),
    ).select_from(found)
    counts = connection.execute(counted).one()
    key = (found.c.store_id, found.c.till_id)
    named = (
        sa.select(*key, is_waiting.label("is_waiting"), seen_at)
        .where(unheard)
        .order_by(*key)
        .limit(MAX_NAMED)
    )
    rows = connection.execute(named) if counts.unheard else ()
    some = [
        UnheardTill(store, till, _state(at, silent_before, now, is_waiting=waits), at)
        for store, till, waits, at in rows
    ]
    return Unheard(counts.unheard, some, counts.not_installed, counts.closed)


def _state(
    seen_at: datetime | None, silent_before: datetime, now: datetime, *, is_waiting: bool
) -> Condition:
    if is_waiting:
        return Condition.CLOSED_WAITING
    is_silent = seen_at is None or not silent_before <= seen_at <= now + CLOCK_WRONG_BEYOND
    return Condition.SILENT if is_silent else Condition.DELIVERING
