"""Encodes the requests of the protocol `batch`."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from uuid import uuid4

import msgspec
import zstandard

from sync.delivery.outbox import OutboxEvent, Window
from sync.protocol.rfc3339 import us_to_rfc3339
from sync.protocol.wire import DAMAGED_TYPE, WITHHELD_TYPE, Batch, BatchEvent

# Encoding more events than these would block the event loop and delay tills: use a thread.
_FEW_EVENTS = 16
_encoder = msgspec.json.Encoder()


class _ClockReading(Protocol):
    @property
    def wall_us(self) -> int: ...
    @property
    def monotonic_us(self) -> int: ...


class RoundTrip:
    """The time from sending the last message that was answered to having its answer."""

    def __init__(self) -> None:
        self.last_us: int | None = None

    def note(self, sent_us: int | None, answered_us: int) -> None:
        """Note that a message was answered; readings of the monotonic clock."""
        if sent_us is not None and answered_us >= sent_us:
            self.last_us = answered_us - sent_us


@dataclass(frozen=True, slots=True)
class Sender:
    """Sending machine: its name at head office, boot id, agent version, clocks, and this process.

    `clock` returns microseconds since 1970 and, on the monotonic clock, since the machine's boot.
    """

    store_id: str
    till_id: str
    boot_id: str
    agent_version: str
    clock: Callable[[], _ClockReading]
    run_id: str = field(default_factory=lambda: str(uuid4()))
    round_trip: RoundTrip = field(default_factory=RoundTrip)


async def compressed_batch(
    window: Window, events: Sequence[OutboxEvent], sender: Sender, *, withheld: bool
) -> bytes:
    """Return a batch as JSON in a zstd frame (RFC 8878); `withheld`: events without content."""

    def encode() -> bytes:
        batch = _batch(window, events, sender, withheld=withheld)
        return zstandard.compress(_encoder.encode(batch))

    return encode() if len(events) <= _FEW_EVENTS else await asyncio.to_thread(encode)


def carried_batch(window: Window, sender: Sender) -> bytes:
    """Return a window as JSON, to be carried by hand.

    It says nothing of the clock of its sender's boot: it may be on its way for days.
    """
    batch = _batch(window, window.events, sender, withheld=False)
    return _encoder.encode(msgspec.structs.replace(batch, sent_monotonic_us=None))


def _batch(
    window: Window, events: Sequence[OutboxEvent], sender: Sender, *, withheld: bool
) -> Batch:
    now = sender.clock()
    return Batch(
        store_id=sender.store_id,
        till_id=sender.till_id,
        epoch=window.epoch,
        boot_id=sender.boot_id,
        agent_version=sender.agent_version,
        sent_at=us_to_rfc3339(now.wall_us),
        sent_monotonic_us=now.monotonic_us,
        round_trip_us=sender.round_trip.last_us,
        base_sequence=window.base_sequence,
        ends_epoch=bool(events) and events[-1].sequence == window.ended_at,
        events=[_batch_event(event, sender.boot_id, withheld=withheld) for event in events],
    )


def _batch_event(event: OutboxEvent, boot_id: str, *, withheld: bool) -> BatchEvent:
    if event.damage is not None:
        return BatchEvent(
            sequence=event.sequence,
            type=DAMAGED_TYPE,
            correlation_id=event.correlation_id,
            occurred_at=us_to_rfc3339(event.occurred_at_us),
            body=msgspec.Raw(_encoder.encode({"errorCode": event.damage.error_code})),
        )
    return BatchEvent(
        sequence=event.sequence,
        type=WITHHELD_TYPE if withheld else event.type,
        correlation_id=event.correlation_id,
        occurred_at=us_to_rfc3339(event.occurred_at_us),
        body=msgspec.Raw(b"{}" if withheld else event.body),
        query_locale=event.query_locale,
        boot_id=event.boot_id if event.boot_id != boot_id else None,
        monotonic_us=event.monotonic_us,
    )
