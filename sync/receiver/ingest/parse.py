"""Parse a batch or a heartbeat from a request body. Pure, no I/O."""

import re
from collections.abc import Sequence
from datetime import datetime

import msgspec

from sync.protocol.rfc3339 import from_rfc3339
from sync.protocol.wire import Batch, BatchEvent, ErrorCode, Heartbeat
from sync.receiver.auth.tokens import EnrolledAgent
from sync.receiver.errors import invalid, too_large
from sync.receiver.ingest.events import Event, read_event, unfit
from sync.receiver.ingest.inbound import HeartbeatArrival
from sync.runtime.http_errors import HttpError

MAX_EVENTS = 10_000
# 100 members per event, nested ones included. Without this limit a body of nothing but commas
# would take thirty times its size in memory before it is rejected.
MAX_COMMAS = 100 * MAX_EVENTS
MAX_EPOCHS = 1_000
_MOST = 2**63 - 1
_ID = re.compile(r"[!-~]{1,128}")
_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)


class _LooseEvent(msgspec.Struct, rename="camel", frozen=True):
    """The fields needed to reject an otherwise invalid event."""

    sequence: int
    type: object = ""
    correlation_id: object = ""


class _LooseBatch(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    store_id: str
    till_id: str
    epoch: str
    boot_id: str
    agent_version: str
    sent_at: str
    base_sequence: int
    events: list[msgspec.Raw]
    sent_monotonic_us: int | None = None


_batch = msgspec.json.Decoder(Batch)
_loose_batch = msgspec.json.Decoder(_LooseBatch)
_event = msgspec.json.Decoder(BatchEvent)
_loose_event = msgspec.json.Decoder(_LooseEvent)
_heartbeat = msgspec.json.Decoder(Heartbeat)


def read_batch(body: bytes | bytearray) -> tuple[Batch, list[Event]]:
    """Return the batch in `body` and its parsed events.

    An invalid event becomes `InvalidEvent`. Raises an `HttpError` if the batch itself is invalid.
    """
    if body.count(b",") > MAX_COMMAS:
        raise too_large(f"The batch has more than {MAX_COMMAS} commas")
    try:
        batch = _batch.decode(body)
        events = [read_event(event) for event in batch.events]
    except _UNREADABLE:
        batch, events = _read_loosely(body)
    _check(batch, events)
    return batch, events


def read_heartbeat(
    body: bytes | bytearray, caller: EnrolledAgent, received_at: datetime
) -> HeartbeatArrival:
    """Return the heartbeat in `body`. Raises an `HttpError` if it is invalid."""
    try:
        heartbeat = _heartbeat.decode(body)
    except _UNREADABLE as wrong:
        raise _not_readable(wrong) from None
    if len(heartbeat.epochs) > MAX_EPOCHS:
        raise too_large(f"The heartbeat names more than {MAX_EPOCHS} epochs")
    named = [heartbeat.rejected_after] if heartbeat.rejected_after else []
    _check_ids(
        heartbeat.epoch,
        heartbeat.boot_id,
        heartbeat.agent_version,
        *(extent.epoch for extent in heartbeat.epochs),
        *(one.epoch for one in named),
    )
    _check_numbers(
        heartbeat.last_sequence,
        heartbeat.base_sequence,
        heartbeat.watermark,
        heartbeat.outstanding,
        heartbeat.dead_letters,
        heartbeat.database_bytes,
        heartbeat.free_bytes,
        *(extent.last_sequence for extent in heartbeat.epochs),
        *(extent.base_sequence for extent in heartbeat.epochs),
        *(one.sequence for one in named),
    )
    return HeartbeatArrival(
        caller=caller,
        heartbeat=heartbeat,
        sent_at=from_rfc3339(heartbeat.sent_at),
        oldest_undelivered_at=from_rfc3339(heartbeat.oldest_undelivered_at or ""),
        last_activity_at=from_rfc3339(heartbeat.last_activity_at or ""),
        received_at=received_at,
    )


def _read_loosely(body: bytes | bytearray) -> tuple[Batch, list[Event]]:
    try:
        loose = _loose_batch.decode(body)
        read = [_read_one(raw) for raw in loose.events]
    except _UNREADABLE as wrong:
        raise _not_readable(wrong) from None
    batch = Batch(
        store_id=loose.store_id,
        till_id=loose.till_id,
        epoch=loose.epoch,
        boot_id=loose.boot_id,
        agent_version=loose.agent_version,
        sent_at=loose.sent_at,
        base_sequence=loose.base_sequence,
        events=[sent for sent, _ in read if sent is not None],
        sent_monotonic_us=loose.sent_monotonic_us,
    )
    return batch, [event for _, event in read]


def _read_one(raw: msgspec.Raw) -> tuple[BatchEvent | None, Event]:
    try:
        sent = _event.decode(raw)
        return sent, read_event(sent)
    except _UNREADABLE:
        # An event without a sequence number cannot be rejected alone: the batch is invalid.
        loose = _loose_event.decode(raw)
        kind = loose.type if isinstance(loose.type, str) else ""
        name = loose.correlation_id if isinstance(loose.correlation_id, str) else ""
        message = "The event does not have the fields that every event has"
        return None, unfit(loose.sequence, kind, name, ErrorCode.INVALID_REQUEST, message)


def _check(batch: Batch, events: Sequence[Event]) -> None:
    if len(events) > MAX_EVENTS:
        raise too_large(f"The batch has more than {MAX_EVENTS} events")
    _check_ids(batch.epoch, batch.boot_id, batch.agent_version)
    if events:
        # Events are ascending (anything else is rejected later), so the ends bound the rest.
        _check_numbers(batch.base_sequence, events[0].sequence - 1, events[-1].sequence)


def _check_ids(*ids: str) -> None:
    if not all(_ID.fullmatch(one) for one in ids):
        raise invalid(
            "epoch, bootId and agentVersion must be 1 to 128 printable characters without blanks"
        )


def _check_numbers(*numbers: int) -> None:
    if not all(0 <= number <= _MOST for number in numbers):
        raise invalid("A number is out of range")


def _not_readable(wrong: Exception) -> HttpError:
    if isinstance(wrong, msgspec.ValidationError):
        return invalid(f"The body does not fit: {wrong}")
    return invalid("The body is not JSON")
