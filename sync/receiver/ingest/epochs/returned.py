"""Numbers whose captures came back under new numbers, by the word of their machine. Pure, no I/O.

Its database was set aside, and salvaged. Such a number is a gap that needs nobody: reason `MOVED`,
acknowledged by the agent. Gaps of before are resolved as well, also those that were called gone for
good. One that a person has acknowledged keeps that acknowledgement.
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
    """Numbers that have all returned, or none of which has."""

    first: int
    last: int
    is_returned: bool


def moved_gap(first: int, last: int, now: datetime) -> Gap:
    """Return the gap of numbers that have new ones."""
    return Gap(first, last, MOVED, Acknowledgement(now, AGENT, MOVED))


def judge(first: int, last: int, returned: Ranges) -> Iterator[Part]:
    """Divide the numbers `first` to `last` by the ascending ranges that have returned."""
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
    """Return the parts of a gap: those that have returned are resolved."""
    accepted = gap.acknowledgement or Acknowledgement(now, AGENT, MOVED)
    return [
        replace(gap, first=first, last=last, reason=MOVED, acknowledgement=accepted)
        if is_returned
        else replace(gap, first=first, last=last)
        for first, last, is_returned in judge(gap.first, gap.last, returned)
    ]
