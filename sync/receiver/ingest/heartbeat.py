"""Store a heartbeat: the agent's status, and how far its epochs extend."""

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, RowMapping

from sync.protocol.rfc3339 import from_rfc3339
from sync.protocol.wire import AcceptedThrough, EpochExtent, EpochSequence, HeartbeatAnswer
from sync.receiver.db import statements, tables
from sync.receiver.db.bulk_insert import insert_rows
from sync.receiver.ingest.agent_transaction import AgentTransaction, TooManyEpochs
from sync.receiver.ingest.parse import InboundHeartbeat
from sync.receiver.ingest.placement import believed_last_sequence, gap_below
from sync.receiver.ingest.rows import Row, epoch_key, gap_row
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
    current = EpochExtent(
        epoch=heartbeat.epoch,
        last_sequence=heartbeat.last_sequence,
        base_sequence=heartbeat.base_sequence,
    )
    older = {one.epoch: one for one in heartbeat.epochs if one.epoch != current.epoch}
    rows = transaction.lock_epochs(current.epoch, older)
    if current.epoch not in rows:
        # Otherwise the till would look silent: another cause, and another remedy.
        transaction.note_contact()
        return TooManyEpochs()
    if not rows[current.epoch]["is_current"]:
        transaction.make_current(current.epoch)
    refused = heartbeat.terms_refused
    terms_refused = None if refused is None else printable(refused, _MAX_TERMS_REFUSED)
    accepted, older_missing = _extend(transaction, current, older, rows)
    transaction.store_boot(heartbeat.boot_id, heartbeat.sent_monotonic_us)
    transaction.execute(
        statements.UPDATE_HEARTBEAT,
        heartbeat.epoch,
        last_seen_at=now,
        agent_version=heartbeat.agent_version,
        heartbeat_at=now,
        agent_sent_at=from_rfc3339(heartbeat.sent_at),
        watermark=heartbeat.watermark,
        outstanding=heartbeat.outstanding,
        dead_letters=heartbeat.dead_letters,
        oldest_undelivered_at=from_rfc3339(heartbeat.oldest_undelivered_at or ""),
        last_activity_at=from_rfc3339(heartbeat.last_activity_at or ""),
        database_bytes=heartbeat.database_bytes,
        free_bytes=heartbeat.free_bytes,
        older_missing=older_missing,
        terms_refused=terms_refused,
    )
    rejected = _rejected(transaction, list(rows), heartbeat.rejected_after)
    return HeartbeatAnswer(epochs=accepted, rejected=rejected)


def _extend(
    transaction: AgentTransaction,
    current: EpochExtent,
    older: Mapping[str, EpochExtent],
    rows: Mapping[str, RowMapping],
) -> tuple[list[AcceptedThrough], int]:
    """Store how far the epochs extend, in one statement per table.

    Return their `accepted_through`, and the most numbers that one of the older epochs lacks.
    """
    accepted: list[AcceptedThrough] = []
    lost: list[Row] = []
    changed: list[Row] = []
    missing = [0]
    for extent in (*older.values(), current):
        if extent.epoch not in rows:
            continue
        row = rows[extent.epoch]
        stored = (row["last_sequence"], row["accepted_through"])
        last_known, accepted_through = stored
        last_sequence = believed_last_sequence(
            extent.last_sequence, last_known, row["heartbeat_at"], transaction.now
        )
        # Events that no longer exist anywhere will never arrive in a batch: head office was
        # restored from a backup after the agent had purged them.
        base_sequence = min(extent.base_sequence, extent.last_sequence + 1)
        gap = gap_below(base_sequence, accepted_through, last_known)
        if gap is not None:
            accepted_through = gap.last
            key = epoch_key(transaction.agent.name, extent.epoch)
            lost.append(gap_row(key, gap, transaction.now))
        if (last_sequence, accepted_through) != stored:
            values = {"last_sequence": last_sequence, "accepted_through": accepted_through}
            changed.append(
                {**statements.params_for(transaction.agent.name, extent.epoch), **values}
            )
        if extent is not current:
            missing.append(last_sequence - accepted_through)
        accepted.append(AcceptedThrough(epoch=extent.epoch, accepted_through=accepted_through))
    insert_rows(transaction.connection, tables.gaps, lost)
    if changed:
        transaction.connection.execute(statements.UPDATE_AGENT, changed)
    return accepted, max(missing)


def _rejected(
    transaction: AgentTransaction, epochs: Sequence[str], after: EpochSequence | None
) -> list[EpochSequence]:
    """Return a page of rejected numbers: the agent may have them as delivered."""
    after = after or EpochSequence(epoch="", sequence=0)
    rows = transaction.execute(
        statements.SELECT_REJECTED, after_epoch=after.epoch, after=after.sequence, epochs=epochs
    )
    return [EpochSequence(**row) for row in rows.mappings()]
