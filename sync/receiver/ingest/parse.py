"""Parse a batch or a heartbeat from a request body. Pure, no I/O."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from sync.protocol.json_object import DECODE_ERRORS
from sync.protocol.wire import (
    MAX_RETURNED_RANGES,
    Batch,
    BatchEvent,
    EpochExtent,
    ErrorCode,
    Heartbeat,
    SalvageCounts,
)
from sync.receiver.auth.tokens import EnrolledAgent
from sync.receiver.ingest.events import Event, InvalidEvent, ValidEvent, invalid_event, parse_event
from sync.runtime.network.http_errors import HttpError, bad_request, too_large

MAX_EVENTS = 10_000
# 100 members per event, nested ones included. Without this limit a body of nothing but commas
# would take thirty times its size in memory before it is rejected.
MAX_COMMAS = 100 * MAX_EVENTS
MAX_EPOCHS = 1_000
_MAX_INTEGER = 2**63 - 1
_ID = re.compile(r"[!-~]{1,128}")


@dataclass(frozen=True, slots=True)
class InboundBatch:
    """A received batch with its parsed events.

    `is_carried`: it came in a bundle, by hand, and is no sign of life of its till.
    """

    sender: EnrolledAgent
    batch: Batch
    events: Sequence[Event]
    received_at: datetime
    is_carried: bool = False

    def clock_readings(self) -> Iterator[tuple[ValidEvent, str, int | None]]:
        """Yield each valid event with its boot, and the boot's monotonic clock at its capture.

        Matched by number: an event that could not be decoded is not among those of `batch`.
        """
        valid = {one.sequence: one for one in self.events if not isinstance(one, InvalidEvent)}
        for sent in self.batch.events:
            if (event := valid.get(sent.sequence)) is not None:
                yield event, sent.boot_id or self.batch.boot_id, sent.monotonic_us


@dataclass(frozen=True, slots=True)
class InboundHeartbeat:
    """A received heartbeat."""

    sender: EnrolledAgent
    heartbeat: Heartbeat
    received_at: datetime


class _LooseEvent(msgspec.Struct, rename="camel", frozen=True):
    """The fields needed to reject an otherwise invalid event."""

    sequence: int
    type: object = ""
    correlation_id: object = ""


class _LooseBatch(Batch, rename="camel", frozen=True, kw_only=True):
    events: list[msgspec.Raw]  # type: ignore[assignment] # decoded one by one


_batch = msgspec.json.Decoder(Batch)
_loose_batch = msgspec.json.Decoder(_LooseBatch)
_event = msgspec.json.Decoder(BatchEvent)
_loose_event = msgspec.json.Decoder(_LooseEvent)
_heartbeat = msgspec.json.Decoder(Heartbeat)


def parse_batch(
    body: bytes | bytearray, sender: EnrolledAgent, received_at: datetime
) -> InboundBatch:
    """Return the batch in `body` with its parsed events; an invalid one is an `InvalidEvent`.

    Raises an `HttpError` if the batch itself is invalid.
    """
    if body.count(b",") > MAX_COMMAS:
        raise too_large(f"The batch has more than {MAX_COMMAS} commas")
    try:
        batch = _batch.decode(body)
        events = [parse_event(event) for event in batch.events]
    except DECODE_ERRORS:
        batch, events = _parse_loosely(body)
    if len(events) > MAX_EVENTS:
        raise too_large(f"The batch has more than {MAX_EVENTS} events")
    check_ids(batch.epoch, batch.boot_id, batch.agent_version)
    _check_numbers(abs(batch.sent_monotonic_us or 0))
    if events:
        # Events are ascending (anything else is rejected later), so the ends bound the rest.
        _check_numbers(batch.base_sequence, events[0].sequence - 1, events[-1].sequence)
    return InboundBatch(sender, batch, events, received_at)


def parse_heartbeat(
    body: bytes | bytearray, sender: EnrolledAgent, received_at: datetime
) -> InboundHeartbeat:
    """Return the heartbeat in `body`. Raises an `HttpError` if it is invalid."""
    try:
        heartbeat = _heartbeat.decode(body)
    except DECODE_ERRORS as error:
        raise _undecodable(error) from None
    if len(heartbeat.epochs) > MAX_EPOCHS:
        raise too_large(f"The heartbeat names more than {MAX_EPOCHS} epochs")
    cursor = [heartbeat.rejected_after] if heartbeat.rejected_after else []
    salvage = heartbeat.salvage or SalvageCounts()
    check_ids(
        heartbeat.epoch,
        heartbeat.boot_id,
        heartbeat.agent_version,
        *(event.epoch for event in cursor),
    )
    _check_numbers(
        abs(heartbeat.sent_monotonic_us),
        heartbeat.last_sequence,
        heartbeat.base_sequence,
        heartbeat.watermark,
        heartbeat.outstanding,
        heartbeat.dead_letters,
        heartbeat.database_bytes,
        heartbeat.free_bytes,
        salvage.pending,
        salvage.salvaged,
        salvage.unreadable,
        *(event.sequence for event in cursor),
    )
    check_epochs(heartbeat.epochs)
    return InboundHeartbeat(sender, heartbeat, received_at)


def check_epochs(epochs: Sequence[EpochExtent]) -> None:
    """Raise an `HttpError` if an epoch has a value that no agent sends."""
    check_ids(*(extent.epoch for extent in epochs))
    for extent in epochs:
        _check_numbers(
            extent.last_sequence,
            extent.base_sequence,
            extent.moved_through,
            extent.lost_through,
            extent.returned_after,
            extent.returned_through,
        )
    _check_returned(epochs)


def _parse_loosely(body: bytes | bytearray) -> tuple[Batch, list[Event]]:
    """Parse event by event, so that an undecodable event does not reject its batch."""
    try:
        loose = _loose_batch.decode(body)
        parsed = [_parse_one(raw) for raw in loose.events]
    except DECODE_ERRORS as error:
        raise _undecodable(error) from None
    decoded = [sent for sent, _ in parsed if sent is not None]
    batch = Batch(**{**msgspec.structs.asdict(loose), "events": decoded})
    return batch, [event for _, event in parsed]


def _parse_one(raw: msgspec.Raw) -> tuple[BatchEvent | None, Event]:
    try:
        sent = _event.decode(raw)
        return sent, parse_event(sent)
    except DECODE_ERRORS:
        # An event without a sequence number cannot be rejected alone: the batch is invalid.
        loose = _loose_event.decode(raw)
        kind = loose.type if isinstance(loose.type, str) else ""
        name = loose.correlation_id if isinstance(loose.correlation_id, str) else ""
        message = "A field of the event is missing or has the wrong type"
        return None, invalid_event(loose.sequence, kind, name, ErrorCode.INVALID_REQUEST, message)


def check_ids(*ids: str) -> None:
    """Raise an `HttpError` if one is no id that an agent sends."""
    if not all(_ID.fullmatch(one) for one in ids):
        raise bad_request(
            "epoch, bootId and agentVersion must be 1 to 128 printable characters without blanks"
        )


def _check_numbers(*numbers: int) -> None:
    if not all(0 <= number <= _MAX_INTEGER for number in numbers):
        raise bad_request("A number is out of range")


def _check_returned(epochs: Sequence[EpochExtent]) -> None:
    if sum(len(extent.returned) for extent in epochs) > MAX_RETURNED_RANGES:
        raise too_large(f"The heartbeat has more than {MAX_RETURNED_RANGES} returned ranges")
    for extent in epochs:
        ends = [extent.returned_after, *(end for one in extent.returned for end in one)]
        firsts, lasts = ends[1::2], ends[0::2]
        is_ascending = all(first > before for first, before in zip(firsts, lasts, strict=False))
        are_ranges = all(first <= last for first, last in extent.returned)
        if not (is_ascending and are_ranges and lasts[-1] <= extent.returned_through):
            raise bad_request("returned must be ascending ranges of numbers within its bounds")


def _undecodable(error: Exception) -> HttpError:
    if isinstance(error, msgspec.ValidationError):
        return bad_request(f"The body is invalid: {error}")
    return bad_request("The body is not JSON")
