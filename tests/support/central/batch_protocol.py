"""Head office's side of the `batch` protocol: gapless sequences, idempotent repeats."""

import gzip
import hashlib
import json
from collections.abc import Callable

import msgspec
import zstandard

from sync.protocol.program_terms import ProgramTerms
from sync.protocol.wire import (
    AcceptedThrough,
    Batch,
    BatchAccepted,
    BatchEvent,
    EpochSequence,
    ErrorCode,
    EventType,
    Heartbeat,
    HeartbeatAnswer,
    Rejection,
)
from tests.support.central.faults import Answer, error
from tests.support.central.ledger import EpochLedger, Ledger, Record, Refusal

_MAX_BYTES = 100_000_000
_MAX_REJECTED_IN_RESPONSE = 2
_encode = msgspec.json.Encoder().encode
_batch = msgspec.json.Decoder(Batch)
_heartbeat = msgspec.json.Decoder(Heartbeat)
_UNPACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": lambda body: body,
    "identity": lambda body: body,
    "gzip": gzip.decompress,
    "zstd": lambda body: zstandard.decompress(body, max_output_size=_MAX_BYTES),
}
Refuse = Callable[[EventType, str], Refusal | None]


def read_batch(body: bytes, encoding: str) -> Batch:
    """Return the batch in a request body. Raises ValueError if it is not one."""
    return _batch.decode(_UNPACKERS[encoding](body))


def accept_batch(ledger: Ledger, batch: Batch, refuse: Refuse) -> Answer:
    """Accept new events without gaps; answer the accepted sequence and the rejected events."""
    epoch = ledger.epochs.setdefault(batch.epoch, EpochLedger())
    epoch.begin_at(batch.base_sequence)
    if batch.events and batch.events[0].sequence > epoch.through + 1:
        return _gap(epoch.through + 1)
    rejected = []
    for event in batch.events:
        if event.sequence > epoch.through + 1:
            break
        refusal = _accept_event(ledger, epoch, batch.epoch, event, refuse)
        epoch.through = max(epoch.through, event.sequence)
        if refusal is not None:
            rejected.append(
                Rejection(
                    sequence=event.sequence,
                    error_code=refusal.code,
                    error_message=refusal.message,
                )
            )
    return _ok(BatchAccepted(accepted_through=epoch.through, rejected=rejected))


def accept_heartbeat(ledger: Ledger, body: bytes) -> tuple[Heartbeat, Answer]:
    """Answer a heartbeat with the accepted sequence of every epoch it names, and record gaps.

    Rejected events are named a few at a time, so that the client needs several heartbeats.
    """
    heartbeat = _heartbeat.decode(body)
    bases = {heartbeat.epoch: heartbeat.base_sequence}
    bases |= {one.epoch: one.base_sequence for one in heartbeat.epochs}
    for name, base_sequence in bases.items():
        ledger.epochs.setdefault(name, EpochLedger()).begin_at(base_sequence)
    for one in heartbeat.epochs:
        ledger.epochs[one.epoch].begin_at(one.lost_through + 1)
    here = [
        AcceptedThrough(epoch=name, accepted_through=ledger.epochs[name].through) for name in bases
    ]
    after = heartbeat.rejected_after
    rejected = [
        EpochSequence(epoch=name, sequence=sequence)
        for name in sorted(bases)
        for sequence in sorted(ledger.epochs[name].rejected)
        if after is None or (name, sequence) > (after.epoch, after.sequence)
    ]
    return heartbeat, _ok(
        HeartbeatAnswer(epochs=here, rejected=rejected[:_MAX_REJECTED_IN_RESPONSE])
    )


def answer_program(program: ProgramTerms, known_etag: str | None) -> Answer:
    """Answer with the program terms, or with 304 if the client has the current version."""
    body = _encode(program)
    etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
    if known_etag == etag:
        return Answer(304, b"", {"ETag": etag})
    return Answer(200, body, {"Content-Type": "application/json", "ETag": etag})


def _accept_event(
    ledger: Ledger, epoch: EpochLedger, name: str, event: BatchEvent, refuse: Refuse
) -> Refusal | None:
    known = epoch.taken.get(event.sequence)
    if known is not None:
        return _compare_repeat(ledger, known, event)
    refusal = _accept_new(ledger, epoch, name, event, refuse)
    if refusal is None:
        epoch.rejected.pop(event.sequence, None)
    else:
        epoch.rejected[event.sequence] = refusal
    return refusal


def _compare_repeat(ledger: Ledger, known: Record, event: BatchEvent) -> Refusal | None:
    body = json.loads(bytes(event.body))
    is_same = known.correlation_id == event.correlation_id and known.type == event.type
    if is_same and (body.get("erased") is True or body == known.document):
        ledger.repeats += 1
        return None
    return Refusal(ErrorCode.ALTERED, "another event is known under this number")


def _accept_new(
    ledger: Ledger, epoch: EpochLedger, name: str, event: BatchEvent, refuse: Refuse
) -> Refusal | None:
    try:
        kind = EventType(event.type)
    except ValueError:
        return Refusal(ErrorCode.UNKNOWN_TYPE, f"unknown type {event.type}")
    record = Record(
        kind,
        event.correlation_id,
        bytes(event.body),
        event.query_locale,
        name,
        event.sequence,
        event.occurred_at,
    )
    refusal = refuse(kind, event.correlation_id) or ledger.accept(record)
    if refusal is None:
        epoch.taken[event.sequence] = record
    return refusal


def _gap(expected: int) -> Answer:
    refused = error(409, ErrorCode.SEQUENCE_GAP, "events before these are missing")
    return Answer.of(409, json.loads(refused.body) | {"expectedSequence": expected})


def _ok(document: msgspec.Struct) -> Answer:
    return Answer(200, _encode(document), {"Content-Type": "application/json"})
