"""Reads a batch or a heartbeat from a request's body. No I/O."""

import re
from collections.abc import Sequence
from datetime import datetime

import msgspec

from sync.protocol.wire import Batch, BatchEvent, ErrorCode, Heartbeat
from sync.receiver.errors import Problem, invalid, too_large
from sync.receiver.ingest.events import Event, read_event, read_moment, unfit
from sync.receiver.ingest.inbound import Caller, HeartbeatArrival

MAX_EVENTS = 10_000
# Of a hundred members each, what they nest included. Without it a body of nothing but commas would
# become thirty times as large before anything in it is found wrong.
MAX_COMMAS = 100 * MAX_EVENTS
MAX_EPOCHS = 1_000
_MOST = 2**63 - 1
_ID = re.compile(r"[!-~]{1,128}")
_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)


class _LooseEvent(msgspec.Struct, rename="camel", frozen=True):
    """What is needed of an event in order to say that the rest of it does not fit."""

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
    """Return the batch in `body`, and what its events say.

    An event that does not fit is one that is `Unfit`; raises a `Problem` where the batch
    itself cannot be understood.
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
    body: bytes | bytearray, caller: Caller, received_at: datetime
) -> HeartbeatArrival:
    """Return the heartbeat in `body`; raises a `Problem` where it cannot be understood."""
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
        sent_at=read_moment(heartbeat.sent_at),
        oldest_undelivered_at=read_moment(heartbeat.oldest_undelivered_at or ""),
        last_activity_at=read_moment(heartbeat.last_activity_at or ""),
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
        # Without a number nothing can be said of it, and the batch as a whole does not fit.
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
        # The events are ascending, or refused for that: the ends stand for all.
        _check_numbers(batch.base_sequence, events[0].sequence - 1, events[-1].sequence)


def _check_ids(*ids: str) -> None:
    if not all(_ID.fullmatch(one) for one in ids):
        raise invalid(
            "epoch, bootId and agentVersion must be 1 to 128 printable characters without blanks"
        )


def _check_numbers(*numbers: int) -> None:
    if not all(0 <= number <= _MOST for number in numbers):
        raise invalid("A number is out of range")


def _not_readable(wrong: Exception) -> Problem:
    if isinstance(wrong, msgspec.ValidationError):
        return invalid(f"The body does not fit: {wrong}")
    return invalid("The body is not JSON")
