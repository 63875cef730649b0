"""Divide a batch into slices that are processed one after another in its transaction. Pure, no I/O.

On PostgreSQL a receiver computes in its event loop: between two slices it serves other requests.
And no more of the ledger than what concerns one slice is held in memory.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import replace

import msgspec

from sync.protocol.wire import BatchEvent
from sync.receiver.ingest.events import Event, InvalidEvent
from sync.receiver.ingest.parse import InboundBatch

# A usual batch is one slice.
MAX_EVENTS = 500
MAX_CHARACTERS = 512 * 1024


def slices_of(inbound: InboundBatch) -> Iterator[InboundBatch]:
    """Yield parts of a batch that together hold its events in order, at least one part."""
    bounds = _bounds(inbound.events)
    if len(bounds) == 1:
        yield inbound
        return
    sent = inbound.batch.events
    start = 0
    for end in bounds:
        events = inbound.events[start:end]
        batch = msgspec.structs.replace(inbound.batch, events=_sent_among(sent, events))
        yield replace(inbound, batch=batch, events=events)
        start = end


def _bounds(events: Sequence[Event]) -> list[int]:
    """Return where each slice ends."""
    ends: list[int] = []
    start = characters = 0
    for index, event in enumerate(events):
        size = 0 if isinstance(event, InvalidEvent) else len(event.body)
        if index - start == MAX_EVENTS or (index > start and characters + size > MAX_CHARACTERS):
            ends.append(index)
            start, characters = index, 0
        characters += size
    return [*ends, len(events)]


def _sent_among(sent: Sequence[BatchEvent], events: Sequence[Event]) -> list[BatchEvent]:
    """Return the events as sent. Those that could not be decoded are not among `sent`."""
    first = bisect_left(sent, events[0].sequence, key=_sequence)
    last = bisect_left(sent, events[-1].sequence + 1, key=_sequence)
    return list(sent[first:last])


def _sequence(event: BatchEvent) -> int:
    return event.sequence
