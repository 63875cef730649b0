"""Divide a batch into turns, one transaction each, and a turn into slices. Pure, no I/O.

A SQLite file has one writer: between two turns of a long batch the batches of other agents are
stored. On PostgreSQL a receiver computes in its event loop: between two slices it serves other
requests. Only the part of the ledger that concerns one slice is held in memory.

A batch that was carried by hand is one turn and one slice: its process serves nobody else.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from operator import attrgetter

import msgspec

from sync.protocol.wire import BatchEvent
from sync.receiver.ingest.events import Event, InvalidEvent
from sync.receiver.ingest.parse import InboundBatch

# A usual batch is one slice.
MAX_EVENTS = 500
MAX_CHARACTERS = 512 * 1024
# An agent sends 100 events by default. A batch of up to this many is one turn; a longer one takes
# more turns, shorter ones, so that the others wait less for each.
USUAL_EVENTS, TURN_EVENTS = 500, 250
TURN_CHARACTERS = 2 * 1024 * 1024


def turns_of(inbound: InboundBatch) -> Iterator[InboundBatch]:
    """Yield parts of a batch to store in transactions of their own, at least one part.

    Only one for numbers that are not ascending: the batch is then refused as a whole.
    """
    numbers = [event.sequence for event in inbound.events]
    if inbound.is_carried or any(later <= earlier for earlier, later in pairwise(numbers)):
        yield inbound
        return
    most = USUAL_EVENTS if len(numbers) <= USUAL_EVENTS else TURN_EVENTS
    yield from _parts(inbound, _bounds(inbound.events, most, TURN_CHARACTERS))


def slices_of(inbound: InboundBatch) -> Iterator[InboundBatch]:
    """Yield parts of a batch that together hold its events in order, at least one part."""
    if inbound.is_carried:
        yield inbound
        return
    yield from _parts(inbound, _bounds(inbound.events, MAX_EVENTS, MAX_CHARACTERS))


def halves_of(inbound: InboundBatch) -> Iterator[InboundBatch]:
    """Yield both halves of a batch of more than one event; its numbers are ascending."""
    yield from _parts(inbound, [len(inbound.events) // 2, len(inbound.events)])


def _parts(inbound: InboundBatch, bounds: Sequence[int]) -> Iterator[InboundBatch]:
    if len(bounds) == 1:
        yield inbound
        return
    sent = inbound.batch.events
    start = 0
    for end in bounds:
        events = inbound.events[start:end]
        ends_epoch = inbound.batch.ends_epoch and end == bounds[-1]
        batch = msgspec.structs.replace(
            inbound.batch, events=_sent_among(sent, events), ends_epoch=ends_epoch
        )
        yield replace(inbound, batch=batch, events=events)
        start = end


def _bounds(events: Sequence[Event], max_events: int, max_characters: int) -> list[int]:
    """Return where each part ends."""
    sizes = [0 if isinstance(event, InvalidEvent) else len(event.body) for event in events]
    # A usual batch is one part.
    if len(sizes) <= max_events and sum(sizes) <= max_characters:
        return [len(sizes)]
    ends: list[int] = []
    start = characters = 0
    for index, size in enumerate(sizes):
        if index - start == max_events or (index > start and characters + size > max_characters):
            ends.append(index)
            start, characters = index, 0
        characters += size
    return [*ends, len(events)]


def _sent_among(sent: Sequence[BatchEvent], events: Sequence[Event]) -> list[BatchEvent]:
    """Return the events as sent. Those that could not be decoded are not among `sent`."""
    number = attrgetter("sequence")
    first = bisect_left(sent, events[0].sequence, key=number)
    last = bisect_left(sent, events[-1].sequence + 1, key=number)
    return list(sent[first:last])
