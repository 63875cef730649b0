"""Reports to head office on older epochs: their ends, losses, and numbers that have returned.

Returned numbers are reported in pages of ranges. Until head office knows all of a loss, the next
page begins after its `acceptedThrough`. Afterwards the pages are repeated in turn: a head office
restored from a backup may have recorded them as lost again. A range is never widened to save room.
"""

import logging
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from agent.store.access import StoreAccess
from agent.store.db.lost_captures import (
    LostCaptures,
    after_answer,
    record_answers,
    record_named,
)
from agent.store.db.returned_numbers import Numbers, epochs_with_returned, read_returned
from agent.store.queries.epoch_progress import EpochProgress
from sync.delivery.outbox import OutboxUnavailable
from sync.protocol.wire import MAX_RETURNED_RANGES, EpochExtent, HeartbeatAnswer
from sync.runtime.logging import log_event

_log = logging.getLogger(__name__)
MAX_RANGES_OF_AN_EPOCH = 100


@dataclass(frozen=True, slots=True)
class Page:
    """The returned numbers above `after` up to `through`; `is_last`: there are none above."""

    ranges: Sequence[Numbers]
    after: int
    through: int
    is_last: bool


class LossReports:
    """Builds the reports, and acts on the answers of head office. Event loop only."""

    def __init__(self, storage: StoreAccess, now_us: Callable[[], int]) -> None:
        self._storage = storage
        self._now_us = now_us
        self._accepted: dict[str, int] = {}
        self._turns: dict[str, int] = {}
        self._pages: Mapping[str, Page] = {}

    def read_pages(
        self, connection: sqlite3.Connection, older: Sequence[EpochProgress]
    ) -> dict[str, Page]:
        """Return the next page of each epoch that has returned numbers.

        Call it in the snapshot in which `older` was read: salvage gives captures new numbers in the
        same transaction. Runs in the reader's thread.
        """
        if not older:
            return {}
        with_returned = epochs_with_returned(connection)
        salvaged = [one for one in older if one.epoch in with_returned]
        limit = min(MAX_RANGES_OF_AN_EPOCH, MAX_RETURNED_RANGES // max(len(salvaged), 1))
        return {one.epoch: _read_page(connection, one, self._after(one), limit) for one in salvaged}

    async def extents(
        self,
        older: Sequence[EpochProgress],
        lost: Sequence[LostCaptures],
        pages: Mapping[str, Page],
    ) -> list[EpochExtent]:
        """Record which losses the heartbeat names; return its reports.

        If they cannot be recorded, they are left out: a later answer would be ambiguous.
        """
        named = {one.epoch: one.named_through for one in lost}
        new = {
            one.epoch: one.lost_through
            for one in older
            if one.lost_through > named.get(one.epoch, 0)
        }
        try:
            if new:
                await self._storage.write_hot(record_named, new)
        except OutboxUnavailable:
            older = [
                replace(one, ended_reason="", lost_through=0) if one.epoch in new else one
                for one in older
            ]
            pages = {epoch: page for epoch, page in pages.items() if epoch not in new}
        self._pages = pages
        return [extent_of(one, pages.get(one.epoch)) for one in older]

    async def on_answer(
        self, answer: HeartbeatAnswer, sent: Iterable[EpochExtent], lost: Sequence[LostCaptures]
    ) -> bool:
        """Record the answer; return whether another heartbeat has more to tell at once."""
        told = {one.epoch: one.lost_through for one in sent}
        before = self._accepted
        self._accepted = {
            one.epoch: one.accepted_through for one in answer.epochs if one.epoch in told
        }
        for epoch, page in self._pages.items():
            self._turns[epoch] = 0 if page.is_last else page.through
        acknowledged = {one.epoch: one.sequence for one in answer.acknowledged}
        now_us = self._now_us()
        changed: list[LostCaptures] = []
        for one in lost:
            # `older_epochs` may leave such an epoch out of a heartbeat; another one names it.
            if one.epoch not in self._accepted:
                continue
            after = after_answer(one, self._accepted[one.epoch], told[one.epoch], now_us)
            if told[one.epoch] and acknowledged.get(one.epoch, 0) >= one.lost_through:
                after = after.acknowledged(now_us)
            if after != one:
                changed.append(after)
        if changed:
            await self._storage.write_hot(record_answers, changed)
            _log_acknowledged(lost, changed)
        is_new = any(one.count and not one.is_open and not one.told_at_us for one in changed)
        return is_new or any(
            not page.is_last and before.get(epoch, 0) < self._accepted.get(epoch, 0) < told[epoch]
            for epoch, page in self._pages.items()
            if epoch in told
        )

    def _after(self, known: EpochProgress) -> int:
        """Return the number above which the next page begins."""
        accepted = self._accepted.get(known.epoch, 0)
        is_heard = accepted >= known.lost_through
        return self._turns.get(known.epoch, 0) if is_heard else accepted


def extent_of(one: EpochProgress, page: Page | None) -> EpochExtent:
    """Return the report of an older epoch."""
    return EpochExtent(
        epoch=one.epoch,
        last_sequence=one.last_sequence,
        base_sequence=one.base_sequence,
        ended_reason=one.ended_reason,
        moved_through=max(one.moved_through, one.salvaged_through),
        lost_through=one.lost_through,
        end_unknown=one.is_end_unknown,
        returned=list(page.ranges) if page else [],
        returned_after=page.after if page else 0,
        returned_through=page.through if page else 0,
    )


def _read_page(
    connection: sqlite3.Connection, known: EpochProgress, after: int, limit: int
) -> Page:
    found = read_returned(connection, known.epoch, after, limit + 1)
    ranges = _with_moved(found, Numbers(known.last_sequence + 1, known.moved_through), after)
    is_last = len(ranges) <= limit
    ranges = ranges[:limit]
    last = max(known.last_named, after, *(one.last for one in ranges[-1:]))
    return Page(ranges, after, last if is_last else ranges[-1].last, is_last)


def _with_moved(found: Sequence[Numbers], moved: Numbers, after: int) -> list[Numbers]:
    """Return the ranges with the numbers above the end of the epoch that have moved."""
    moved = Numbers(max(moved.first, after + 1), moved.last)
    if moved.first > moved.last:
        return list(found)
    merged: list[Numbers] = []
    for one in sorted([*found, moved]):
        if merged and one.first <= merged[-1].last + 1:
            merged[-1] = Numbers(merged[-1].first, max(merged[-1].last, one.last))
        else:
            merged.append(one)
    return merged


def _log_acknowledged(before: Sequence[LostCaptures], changed: Sequence[LostCaptures]) -> None:
    known = {one.epoch for one in before if one.acknowledged_at_us is not None}
    for one in changed:
        if one.acknowledged_at_us is not None and one.epoch not in known:
            numbers = {"epoch": one.epoch, "first": one.first, "last": one.lost_through}
            log_event(_log, logging.INFO, "store.loss_acknowledged", **numbers)
