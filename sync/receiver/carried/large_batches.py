"""Joins the batches of a bundle: a few large transactions take less time than many small ones.

Each transaction syncs the disk, and writes every page of an index that a new correlation id is on.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator
from dataclasses import replace
from itertools import chain
from typing import TypeVar

import msgspec

from sync.receiver.ingest.parse import InboundBatch

# On SQLite the batches of tills wait for one transaction at most, of less than a second.
MOST_EVENTS = 10_000
# Of JSON: what is rejected has its size as well. Captures have some 300 bytes each.
_MOST_BYTES = 8 * 1024 * 1024
T = TypeVar("T")


def joined(batches: Iterable[tuple[InboundBatch, int]]) -> Iterator[InboundBatch]:
    """Yield the batches, as one where the ledger's decisions are the same as on each of them.

    That is where one continues the other: then a gap before the first is one before both. Each
    comes with its size in bytes.
    """
    parts: list[InboundBatch] = []
    events = total = 0
    for batch, size in batches:
        events += len(batch.events)
        total += size
        is_large = events > MOST_EVENTS or total > _MOST_BYTES
        if parts and (is_large or not _continues(batch, parts[-1])):
            yield _join(parts)
            parts.clear()
            events, total = len(batch.events), size
        parts.append(batch)
    if parts:
        yield _join(parts)


async def read_ahead(values: Iterator[T]) -> AsyncGenerator[T, None]:
    """Yield the values; a thread computes the next one while one is used."""
    following = asyncio.ensure_future(asyncio.to_thread(next, values, None))
    try:
        while (value := await following) is not None:
            following = asyncio.ensure_future(asyncio.to_thread(next, values, None))
            yield value
    finally:
        # The thread reads from what the caller is about to close.
        await asyncio.wait([following])
        _ = following.cancelled() or following.exception()


def _continues(later: InboundBatch, before: InboundBatch) -> bool:
    if before.batch.ends_epoch:
        return False
    is_next = later.events[0].sequence == before.events[-1].sequence + 1
    return is_next and _common(later) == _common(before)


def _common(inbound: InboundBatch) -> tuple[object, ...]:
    """Return the members that count for all events of a batch."""
    batch = inbound.batch
    return inbound.sender, batch.epoch, batch.boot_id, batch.base_sequence, batch.sent_monotonic_us


def _join(parts: list[InboundBatch]) -> InboundBatch:
    if len(parts) == 1:
        return parts[0]
    sent = [event for part in parts for event in part.batch.events]
    last = parts[-1].batch
    batch = msgspec.structs.replace(last, events=sent)
    return replace(parts[0], batch=batch, events=list(chain(*(part.events for part in parts))))
