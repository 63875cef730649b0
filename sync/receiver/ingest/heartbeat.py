"""Store a heartbeat: the agent's status, and how far its epochs extend."""

from collections.abc import Sequence

from sqlalchemy import Connection, RowMapping

from sync.protocol.rfc3339 import from_rfc3339
from sync.protocol.wire import AcceptedThrough, EpochExtent, EpochSequence, HeartbeatAnswer
from sync.receiver.db import statements, tables
from sync.receiver.db.bulk_insert import insert_rows
from sync.receiver.ingest.agent_transaction import AgentTransaction
from sync.receiver.ingest.parse import InboundHeartbeat
from sync.receiver.ingest.placement import gap_below
from sync.receiver.ingest.rows import epoch_key, gap_row


def store_heartbeat(connection: Connection, inbound: InboundHeartbeat) -> HeartbeatAnswer:
    """Store a heartbeat; return `accepted_through` of its epochs, and a page of rejections."""
    heartbeat, now = inbound.heartbeat, inbound.received_at
    transaction = AgentTransaction(connection, inbound.sender, now)
    current = EpochExtent(
        epoch=heartbeat.epoch,
        last_sequence=heartbeat.last_sequence,
        base_sequence=heartbeat.base_sequence,
    )
    extents = {extent.epoch: extent for extent in (*heartbeat.epochs, current)}
    rows = transaction.lock_epochs(list(extents))
    accepted = [_extend(transaction, extent, rows[epoch]) for epoch, extent in extents.items()]
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
    )
    rejected = _rejected(transaction, list(extents), heartbeat.rejected_after)
    return HeartbeatAnswer(epochs=accepted, rejected=rejected)


def _extend(transaction: AgentTransaction, extent: EpochExtent, row: RowMapping) -> AcceptedThrough:
    """Store how far an epoch extends; return its `accepted_through`."""
    stored = (row["last_sequence"], row["accepted_through"])
    last_sequence, accepted_through = max(extent.last_sequence, stored[0]), stored[1]
    # Events that no longer exist anywhere will never arrive in a batch: head office was restored
    # from a backup after the agent had purged them.
    gap = gap_below(min(extent.base_sequence, extent.last_sequence + 1), accepted_through)
    if gap is not None:
        accepted_through = gap.last
        key = epoch_key(transaction.agent.name, extent.epoch)
        insert_rows(transaction.connection, tables.gaps, [gap_row(key, gap, transaction.now)])
    if (last_sequence, accepted_through) != stored:
        transaction.execute(
            statements.UPDATE_AGENT,
            extent.epoch,
            last_sequence=last_sequence,
            accepted_through=accepted_through,
        )
    return AcceptedThrough(epoch=extent.epoch, accepted_through=accepted_through)


def _rejected(
    transaction: AgentTransaction, epochs: Sequence[str], after: EpochSequence | None
) -> list[EpochSequence]:
    """Return a page of rejected numbers: the agent may have them as delivered."""
    after = after or EpochSequence(epoch="", sequence=0)
    rows = transaction.execute(
        statements.SELECT_REJECTED, after_epoch=after.epoch, after=after.sequence, epochs=epochs
    )
    return [EpochSequence(**row) for row in rows.mappings()]
