"""Convert the decision on a batch into rows of the ledger's tables."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TypeAlias

from msgspec.structs import astuple
from sqlalchemy import RowMapping

from sync.receiver.auth.tokens import AgentName
from sync.receiver.ingest.deduplication.digest import digest_in
from sync.receiver.ingest.events import ValidEvent, type_of
from sync.receiver.ingest.gaps import ACKNOWLEDGEMENT, Acknowledgement, Gap
from sync.receiver.ingest.ledger_state import AcceptedBatch
from sync.receiver.ingest.parse import InboundBatch
from sync.receiver.ingest.times.clock_skew import SkewCorrector

Row: TypeAlias = dict[str, object]


def corrected_times(
    inbound: InboundBatch, accepted: AcceptedBatch, corrector: SkewCorrector
) -> dict[int, datetime | None]:
    """Return the skew-corrected times of the accepted events, by sequence; None if unknown."""
    stored = {one.sequence for one in accepted.sessions}
    stored.update(one.sequence for one in accepted.answers)
    # In order of their numbers: each trusted time bounds the ones after it.
    return {
        event.sequence: corrector.correct(
            event.occurred_at,
            boot_id,
            monotonic_us,
            in_order=event.sequence > accepted.resent_through,
        )
        for event, boot_id, monotonic_us in inbound.clock_readings()
        if event.sequence in stored
    }


def captured_times(
    inbound: InboundBatch, numbers: Iterable[int], corrector: SkewCorrector
) -> dict[int, datetime | None]:
    """Return the skew-corrected times of these resent events, by sequence; None if unknown."""
    wanted = frozenset(numbers)
    return {
        event.sequence: corrector.correct(event.occurred_at, boot_id, monotonic_us, in_order=False)
        for event, boot_id, monotonic_us in inbound.clock_readings()
        if event.sequence in wanted
    }


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
    return {
        **key,
        "first_sequence": gap.first,
        "last_sequence": gap.last,
        "reason": gap.reason,
        "noted_at": noted_at,
        **acknowledgement_row(gap.acknowledgement),
    }


def gap_of(row: RowMapping) -> Gap:
    """Return the gap of a row of `gaps`."""
    acknowledged = acknowledgement_of(row)
    return Gap(row["first_sequence"], row["last_sequence"], row["reason"], acknowledged)


def acknowledgement_row(accepted: Acknowledgement | None) -> dict[str, object]:
    """Return the columns of an acknowledgement in a row of `gaps` or `agents`."""
    values = (accepted.at, accepted.by, accepted.reason) if accepted else (None,) * 3
    return dict(zip(ACKNOWLEDGEMENT, values, strict=True))


def acknowledgement_of(row: RowMapping) -> Acknowledgement | None:
    """Return the acknowledgement in a row of `gaps` or `agents`, if it has one."""
    at, by, reason = (row[name] for name in ACKNOWLEDGEMENT)
    return None if at is None else Acknowledgement(at, by or "", reason or "")
