"""Returned numbers: their captures were salvaged and have new numbers. Pure, no I/O.

The machine quarantined its database and reports the salvaged ranges. A returned number is a gap
with the reason `MOVED`, acknowledged by the agent. Stored gaps are resolved likewise, including
those that count as gone for good. A person's acknowledgement is kept.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple, TypeAlias

from sync.receiver.ingest.gaps import Acknowledgement, Gap

MOVED = "these events have new numbers in a later epoch"
AGENT = "the agent"

Ranges: TypeAlias = Sequence[tuple[int, int]]


class Part(NamedTuple):
    """A range of numbers: all have returned, or none has."""

    first: int
    last: int
    is_returned: bool


def moved_gap(first: int, last: int, now: datetime) -> Gap:
    """Return the gap for returned numbers."""
    return Gap(first, last, MOVED, Acknowledgement(now, AGENT, MOVED))


def judge(first: int, last: int, returned: Ranges) -> Iterator[Part]:
    """Yield the numbers `first` to `last`, divided by the ascending ranges in `returned`."""
    for start, end in returned:
        if end < first or start > last:
            continue
        if start > first:
            yield Part(first, start - 1, is_returned=False)
        yield Part(max(start, first), min(end, last), is_returned=True)
        first = end + 1
    if first <= last:
        yield Part(first, last, is_returned=False)


def resolve(gap: Gap, returned: Ranges, now: datetime) -> list[Gap]:
    """Return the parts of a gap, with the returned ones resolved."""
    accepted = gap.acknowledgement or Acknowledgement(now, AGENT, MOVED)
    return [
        replace(gap, first=first, last=last, reason=MOVED, acknowledgement=accepted)
        if is_returned
        else replace(gap, first=first, last=last)
        for first, last, is_returned in judge(gap.first, gap.last, returned)
    ]
