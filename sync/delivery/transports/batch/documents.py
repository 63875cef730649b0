"""JSON documents of the protocol `batch`: encodes requests, decodes head office's response."""

import asyncio
from collections.abc import Sequence

import msgspec
import zstandard

from sync.delivery.outbox import OutboxEvent, Window
from sync.delivery.transports.batch.sender import Sender, rfc3339
from sync.delivery.transports.http_client import HttpResponse
from sync.protocol.wire import WITHHELD_TYPE, Batch, BatchAccepted, BatchEvent

# Encoding more events than these would block the event loop and delay tills: use a thread.
_FEW_EVENTS = 16
_HIGHEST = 2**63 - 1
_encoder = msgspec.json.Encoder()
_accepted = msgspec.json.Decoder(BatchAccepted)


def encode_batch(
    window: Window, events: Sequence[OutboxEvent], sender: Sender, *, withheld: bool
) -> bytes:
    """Return the JSON of a batch; `withheld`: events without their content."""
    now = sender.clock()
    written = [_written(event, sender.boot_id) for event in events]
    if withheld:
        written = [
            msgspec.structs.replace(event, type=WITHHELD_TYPE, body=msgspec.Raw(b"{}"))
            for event in written
        ]
    return _encoder.encode(
        Batch(
            store_id=sender.store_id,
            till_id=sender.till_id,
            epoch=window.epoch,
            boot_id=sender.boot_id,
            agent_version=sender.agent_version,
            sent_at=rfc3339(now.wall_us),
            sent_monotonic_us=now.monotonic_us,
            base_sequence=window.base_sequence,
            events=written,
        )
    )


async def compressed_batch(
    window: Window, events: Sequence[OutboxEvent], sender: Sender, *, withheld: bool
) -> bytes:
    """Return the batch of `encode_batch` compressed, a zstd frame (RFC 8878)."""

    def pack() -> bytes:
        return zstandard.compress(encode_batch(window, events, sender, withheld=withheld))

    return pack() if len(events) <= _FEW_EVENTS else await asyncio.to_thread(pack)


def decode_response(answer: HttpResponse, sent: Sequence[OutboxEvent]) -> BatchAccepted | None:
    """Return the response decoded; None if it is malformed or inconsistent with `sent`."""
    if not answer.is_json:
        return None
    try:
        accepted = _accepted.decode(answer.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return accepted if _is_sane(accepted, sent) else None


def _is_sane(accepted: BatchAccepted, sent: Sequence[OutboxEvent]) -> bool:
    rejected = {rejection.sequence for rejection in accepted.rejected}
    return (
        0 <= accepted.accepted_through <= _HIGHEST
        and len(rejected) == len(accepted.rejected)
        and rejected <= {event.sequence for event in sent}
    )


def _written(event: OutboxEvent, boot_id: str) -> BatchEvent:
    return BatchEvent(
        sequence=event.sequence,
        type=event.type,
        correlation_id=event.correlation_id,
        occurred_at=rfc3339(event.occurred_at_us),
        body=msgspec.Raw(event.body),
        query_locale=event.query_locale,
        boot_id=event.boot_id if event.boot_id != boot_id else None,
        monotonic_us=event.monotonic_us,
    )
