"""Store a heartbeat: the agent's status, and how far its epochs extend."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping

from sync.protocol.rfc3339 import from_rfc3339
from sync.protocol.wire import (
    AcceptedThrough,
    EpochExtent,
    EpochSequence,
    Heartbeat,
    HeartbeatAnswer,
)
from sync.receiver.db import conditions, statements, tables
from sync.receiver.db.bulk_insert import insert_rows
from sync.receiver.ingest.agent_transaction import AgentTransaction, TooManyEpochs
from sync.receiver.ingest.epochs.closing import Sent
from sync.receiver.ingest.epochs.extents import (
    Extent,
    current_extent,
    older_extent,
    overtaken_extent,
)
from sync.receiver.ingest.epochs.overtaken import Sending
from sync.receiver.ingest.epochs.shared_name import speaker_of
from sync.receiver.ingest.epochs.stored_gaps import epochs_without_open_gaps, resolve_gaps
from sync.receiver.ingest.epochs.succession import captured_last
from sync.receiver.ingest.parse import InboundHeartbeat
from sync.receiver.ingest.rows import Row, epoch_key, gap_row
from sync.receiver.ingest.times.clock_skew import boot_zero
from sync.receiver.ingest.times.uncertain_times import correct_uncertain
from sync.runtime.printable import printable

_MAX_TERMS_REFUSED = 200


def store_heartbeat(
    connection: Connection, inbound: InboundHeartbeat
) -> HeartbeatAnswer | TooManyEpochs:
    """Store a heartbeat; return `accepted_through` of its epochs, and a page of rejections.

    Older epochs beyond the till's bounds are ignored. Only the time of contact is stored if it
    returns `TooManyEpochs`: the current one is beyond them.
    """
    heartbeat, now = inbound.heartbeat, inbound.received_at
    transaction = AgentTransaction(connection, inbound.sender, now)
    current = _current(heartbeat)
    older = {one.epoch: one for one in heartbeat.epochs if one.epoch != current.epoch}
    rows = transaction.lock_epochs(current.epoch, older)
    sent = Sent(heartbeat.boot_id, heartbeat.sent_monotonic_us)
    if current.epoch not in rows:
        # Otherwise the till would look silent: another cause, and another remedy.
        transaction.note_contact(sent)
        return TooManyEpochs()
    sending = _sending(inbound)
    transaction.store_boot(heartbeat.boot_id, sending.sent_us, heartbeat.round_trip_us)
    if transaction.is_overtaken(sending):
        return _overtaken(transaction, heartbeat, [current, *older.values()], rows)
    status = _status_columns(heartbeat)
    if not rows[current.epoch]["is_current"]:
        captured_at = captured_last(now, sending.sent_at, status["last_activity_at"])
        transaction.make_current(current.epoch, captured_at)
    was_heard = rows[current.epoch]["heartbeat_at"] is not None
    use = transaction.name_use(sending, was_heard=was_heard)
    last = transaction.last_message(sent, is_closed=heartbeat.closed)
    is_shared = use.is_shared(now)
    accepted, older_missing = _extend(transaction, current, older, rows, is_shared=is_shared)
    acknowledged = _acknowledged(transaction, accepted, older)
    transaction.execute(
        statements.UPDATE_HEARTBEAT,
        heartbeat.epoch,
        last_seen_at=now,
        heartbeat_at=now,
        agent_sent_at=sending.sent_at,
        older_missing=older_missing,
        **status,
        **use.row(),
        **last.row(),
    )
    correct_uncertain(transaction, rows)
    rejected = _rejected(transaction, list(rows), heartbeat.rejected_after)
    return HeartbeatAnswer(
        epochs=accepted, rejected=rejected, acknowledged=acknowledged, shared_name=is_shared
    )


def _current(heartbeat: Heartbeat) -> EpochExtent:
    return EpochExtent(
        epoch=heartbeat.epoch,
        last_sequence=heartbeat.last_sequence,
        base_sequence=heartbeat.base_sequence,
    )


def _sending(inbound: InboundHeartbeat) -> Sending:
    heartbeat = inbound.heartbeat
    sent_us = heartbeat.sent_monotonic_us
    return Sending(
        speaker_of(heartbeat),
        sent_us,
        from_rfc3339(heartbeat.sent_at),
        boot_zero(inbound.received_at, sent_us),
        {heartbeat.epoch, *(one.epoch for one in heartbeat.epochs)},
    )


def _overtaken(
    transaction: AgentTransaction,
    heartbeat: Heartbeat,
    told: Iterable[EpochExtent],
    rows: Mapping[str, RowMapping],
) -> HeartbeatAnswer:
    """Store the numbers that an overtaken heartbeat reports; return its answer."""
    accepted: list[AcceptedThrough] = []
    for one, extent in store_overtaken(transaction, told, rows):
        # The first message of a boot may be of an image that was put back.
        is_current = one.epoch == heartbeat.epoch
        row = rows[one.epoch]
        reached = _reached(one, row, extent) if is_current else extent.accepted_through
        accepted.append(AcceptedThrough(epoch=one.epoch, accepted_through=reached))
    rejected = _rejected(transaction, list(rows), heartbeat.rejected_after)
    is_shared = transaction.name_use().is_shared(transaction.now)
    return HeartbeatAnswer(epochs=accepted, rejected=rejected, shared_name=is_shared)


def store_overtaken(
    transaction: AgentTransaction, told: Iterable[EpochExtent], rows: Mapping[str, RowMapping]
) -> list[tuple[EpochExtent, Extent]]:
    """Store the numbers that an old message reports of the epochs in `rows`; return the extents."""
    extents = [
        (one, overtaken_extent(one, rows[one.epoch], transaction.now))
        for one in told
        if one.epoch in rows
    ]
    changed = [
        {**conditions.params_for(transaction.agent.name, one.epoch), **values}
        for one, extent in extents
        if (values := extent.changes(rows[one.epoch]))
    ]
    if changed:
        transaction.connection.execute(statements.UPDATE_AGENT, changed)
    return extents


def _status_columns(heartbeat: Heartbeat) -> dict[str, Any]:
    """Return the columns of the agent's own state."""
    refused, salvage = heartbeat.terms_refused, heartbeat.salvage
    return {
        "agent_version": heartbeat.agent_version,
        "watermark": heartbeat.watermark,
        "outstanding": heartbeat.outstanding,
        "dead_letters": heartbeat.dead_letters,
        "oldest_undelivered_at": from_rfc3339(heartbeat.oldest_undelivered_at or ""),
        "last_activity_at": from_rfc3339(heartbeat.last_activity_at or ""),
        "database_bytes": heartbeat.database_bytes,
        "free_bytes": heartbeat.free_bytes,
        "terms_refused": None if refused is None else printable(refused, _MAX_TERMS_REFUSED),
        "salvage_pending": salvage.pending if salvage else None,
        "salvage_salvaged": salvage.salvaged if salvage else None,
        "salvage_unreadable": salvage.unreadable if salvage else None,
    }


def _extend(
    transaction: AgentTransaction,
    current: EpochExtent,
    older: Mapping[str, EpochExtent],
    rows: Mapping[str, RowMapping],
    *,
    is_shared: bool,
) -> tuple[list[AcceptedThrough], int]:
    """Store how far the epochs extend, in one statement per table.

    Return their `accepted_through`, and the most numbers that one of the older epochs lacks.
    """
    accepted: list[AcceptedThrough] = []
    lost: list[Row] = []
    returned: dict[str, Sequence[tuple[int, int]]] = {}
    changed: list[Row] = []
    missing = [0]
    begun_at = rows[current.epoch]["begun_at"]
    for told in (*older.values(), current):
        if told.epoch not in rows:
            continue
        row = rows[told.epoch]
        if told is current:
            extent = current_extent(told, row, transaction.now)
            reached = _reached(told, row, extent)
        else:
            extent = older_extent(
                told, row, transaction.now, begun_at=begun_at, is_shared=is_shared
            )
            reached = extent.accepted_through
            missing.append(extent.last_sequence - reached)
            if extent.returned and extent.returned[0][0] <= row["accepted_through"]:
                returned[told.epoch] = extent.returned
        key = epoch_key(transaction.agent.name, told.epoch)
        lost += [gap_row(key, gap, transaction.now) for gap in extent.gaps]
        if values := extent.changes(row):
            changed.append({**conditions.params_for(transaction.agent.name, told.epoch), **values})
        accepted.append(AcceptedThrough(epoch=told.epoch, accepted_through=reached))
    resolve_gaps(transaction, returned)
    insert_rows(transaction.connection, tables.gaps, lost)
    if changed:
        transaction.connection.execute(statements.UPDATE_AGENT, changed)
    return accepted, max(missing)


def _acknowledged(
    transaction: AgentTransaction,
    accepted: Sequence[AcceptedThrough],
    older: Mapping[str, EpochExtent],
) -> list[EpochSequence]:
    """Return the losses that are recorded here in gaps that are all acknowledged."""
    named = {
        one.epoch: older[one.epoch].lost_through
        for one in accepted
        if one.epoch in older and 0 < older[one.epoch].lost_through <= one.accepted_through
    }
    settled = epochs_without_open_gaps(transaction, named)
    return [
        EpochSequence(epoch=epoch, sequence=named[epoch]) for epoch in named if epoch in settled
    ]


def _reached(told: EpochExtent, row: RowMapping, extent: Extent) -> int:
    """Return the number after which the agent may go on in its current epoch.

    A database that ends below a number that its till has reported is an older copy. The agent
    begins a new epoch when it learns of the lost numbers, and uses none of them again.
    """
    known: int = row["last_sequence"]
    if told.last_sequence < known:
        return max(extent.accepted_through, known)
    return extent.accepted_through


def _rejected(
    transaction: AgentTransaction, epochs: Sequence[str], after: EpochSequence | None
) -> list[EpochSequence]:
    """Return a page of rejected numbers: the agent may have them as delivered."""
    after = after or EpochSequence(epoch="", sequence=0)
    rows = transaction.execute(
        statements.SELECT_REJECTED, after_epoch=after.epoch, after=after.sequence, epochs=epochs
    )
    return [EpochSequence(**row) for row in rows.mappings()]
