"""Convert the decision on a batch into rows of the ledger's tables."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TypeAlias

from msgspec.structs import astuple
from sqlalchemy import RowMapping

from sync.receiver.auth.tokens import AgentName
from sync.receiver.ingest.deduplication.digest import digest_in
from sync.receiver.ingest.events import InvalidEvent, ValidEvent, type_of
from sync.receiver.ingest.gaps import Acknowledgement, Gap
from sync.receiver.ingest.ledger_state import AcceptedBatch
from sync.receiver.ingest.parse import InboundBatch
from sync.receiver.ingest.times.clock_skew import SkewCorrector

Row: TypeAlias = dict[str, object]


def corrected_times(
    inbound: InboundBatch, accepted: AcceptedBatch, corrector: SkewCorrector
) -> dict[int, datetime | None]:
    """Return the skew-corrected times of the accepted events, by sequence; None if unknown."""
    corrected: dict[int, datetime | None] = {}
    events: dict[int, ValidEvent] = {session.sequence: session for session in accepted.sessions}
    events |= {answer.sequence: answer for answer in accepted.answers}
    own_boot = inbound.batch.boot_id
    # In order of their numbers: each trusted time bounds the ones after it.
    for sent in inbound.batch.events:
        event = events.get(sent.sequence)
        if event is not None:
            corrected[sent.sequence] = corrector.correct(
                event.occurred_at,
                sent.boot_id or own_boot,
                sent.monotonic_us,
                in_order=sent.sequence > accepted.resent_through,
            )
    return corrected


def captured_times(
    inbound: InboundBatch, numbers: Iterable[int], corrector: SkewCorrector
) -> dict[int, datetime | None]:
    """Return the skew-corrected times of these resent events, by sequence; None if unknown."""
    wanted, own_boot = frozenset(numbers), inbound.batch.boot_id
    events = {event.sequence: event for event in inbound.events if event.sequence in wanted}
    captured: dict[int, datetime | None] = {}
    for sent in inbound.batch.events:
        event = events.get(sent.sequence)
        if event is not None and not isinstance(event, InvalidEvent):
            boot_id = sent.boot_id or own_boot
            captured[sent.sequence] = corrector.correct(
                event.occurred_at, boot_id, sent.monotonic_us, in_order=False
            )
    return captured


def event_columns(kind: type[ValidEvent]) -> tuple[str, ...]:
    """Return the columns of `sessions` or `email_answers` that are not common to a batch."""
    return (*kind.__struct_fields__, "corrected_at", "clock_trusted")


def event_values(
    events: Iterable[ValidEvent], corrected_times: Mapping[int, datetime | None]
) -> list[tuple[object, ...]]:
    """Return the values of these columns for events of one kind."""
    return [
        (*astuple(event), at := corrected_times[event.sequence], at is not None) for event in events
    ]


def duplicate_row(event: ValidEvent) -> Row:
    """Return a row of `duplicates`, without the columns common to a batch."""
    key = {"sequence": event.sequence, "correlation_id": event.correlation_id}
    return {**key, "type": type_of(event).value, "digest": digest_in(event)}


def epoch_key(name: AgentName, epoch: str) -> Row:
    """Return the key columns of an agent's epoch."""
    return {"store_id": name.store_id, "till_id": name.till_id, "epoch": epoch}


def gap_row(key: Row, gap: Gap, noted_at: datetime) -> Row:
    """Return a row of `gaps` in the epoch of `key`."""
    acknowledged = gap.acknowledgement
    return {
        **key,
        "first_sequence": gap.first,
        "last_sequence": gap.last,
        "reason": gap.reason,
        "noted_at": noted_at,
        "acknowledged_at": acknowledged.at if acknowledged else None,
        "acknowledged_by": acknowledged.by if acknowledged else None,
        "acknowledged_reason": acknowledged.reason if acknowledged else None,
    }


def gap_of(row: RowMapping) -> Gap:
    """Return the gap of a row of `gaps`."""
    at, by, reason = (row[f"acknowledged_{name}"] for name in ("at", "by", "reason"))
    acknowledgement = None if at is None else Acknowledgement(at, by or "", reason or "")
    return Gap(row["first_sequence"], row["last_sequence"], row["reason"], acknowledgement)
