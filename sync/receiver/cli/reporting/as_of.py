"""Sentences about a report: its time, and the tills that it cannot speak for."""

from collections.abc import Iterator
from datetime import datetime

from sync.protocol.rfc3339 import to_rfc3339
from sync.receiver.reports.conditions import Condition
from sync.receiver.reports.unheard import Unheard, UnheardTill
from sync.runtime.cli.printing import count, one_line

_MAX_NAMED = 20
_STATES = {Condition.CLOSED_WAITING: "closed with captures on it", Condition.SILENT: "silent"}


def as_of(now: datetime, unheard: Unheard) -> Iterator[str]:
    """Yield the sentences."""
    yield f"As of {to_rfc3339(now, 'milliseconds')}."
    if unheard.count:
        named = ", ".join(map(_name, unheard.tills[:_MAX_NAMED]))
        more = f" and {unheard.count - _MAX_NAMED} more" if unheard.count > _MAX_NAMED else ""
        tills = count(unheard.count, "till")
        yield f"{tills} may have captures that are not known here: {named}{more}."
    if unheard.closed:
        tills = count(unheard.closed, "till")
        yield f"{tills} closed in order: known up to then, unless started since without a line."
    if unheard.not_installed:
        yield f"{count(unheard.not_installed, 'till')} not yet installed."


def _name(till: UnheardTill) -> str:
    state = _STATES.get(till.state, "not heard since the end of the period")
    since = f", heard {to_rfc3339(till.last_seen_at, 'milliseconds')}" if till.last_seen_at else ""
    return one_line(f"{till.store_id}/{till.till_id} ({state}{since})")
