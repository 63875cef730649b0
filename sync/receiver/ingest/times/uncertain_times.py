"""Uncertain times: events of an unconfirmed boot, corrected once its clock is confirmed.

The first message of a boot may be hours late, and then the times computed from it are as well. So
its events are noted here. The heartbeat that confirms the boot and the next ones correct them,
`MAX_SETTLED` each. The hourly rollup does not move them to another hour.
"""

from collections.abc import Collection, Mapping
from datetime import datetime

from sync.receiver.db import conditions, statements, tables
from sync.receiver.db.bulk_insert import insert_rows
from sync.receiver.ingest.agent_transaction import AgentTransaction
from sync.receiver.ingest.parse import InboundBatch
from sync.receiver.ingest.rows import Row, epoch_key
from sync.receiver.ingest.times.clock_skew import TOLERANCE, SkewCorrector, time_at

MAX_SETTLED = 500


def note_uncertain(
    transaction: AgentTransaction,
    inbound: InboundBatch,
    times: Mapping[int, datetime | None],
    corrector: SkewCorrector,
) -> None:
    """Store the accepted events (those in `times`) whose times are uncertain."""
    if not corrector.has_uncertain:
        return
    rows: list[Row] = [
        {"sequence": event.sequence, "boot_id": boot_id, "monotonic_us": monotonic_us}
        for event, boot_id, monotonic_us in inbound.clock_readings()
        if event.sequence in times
        and monotonic_us is not None
        and corrector.is_uncertain(event.occurred_at, boot_id, monotonic_us)
    ]
    key = epoch_key(transaction.agent.name, inbound.batch.epoch)
    insert_rows(transaction.connection, tables.uncertain_times, rows, common=key)
    for boot_id in sorted({str(row["boot_id"]) for row in rows}):
        transaction.execute(statements.UPDATE_BOOT, of_boot=boot_id, has_uncertain=True)


def correct_uncertain(transaction: AgentTransaction, epochs: Collection[str]) -> None:
    """Correct the next events of a confirmed boot in these epochs. The caller holds their locks."""
    settled = transaction.settled_boot
    if settled is None:
        return
    found = transaction.execute(
        statements.SELECT_UNCERTAIN,
        of_boot=settled.boot_id,
        epochs=list(epochs),
        most=MAX_SETTLED,
    )
    rows = found.mappings().all()
    if len(rows) < MAX_SETTLED:
        transaction.execute(statements.UPDATE_BOOT, of_boot=settled.boot_id, has_uncertain=None)
    if not rows:
        return
    name, latest = transaction.agent.name, transaction.now + TOLERANCE
    keys = [
        {**conditions.params_for(name, row["epoch"]), "of_sequence": row["sequence"]}
        for row in rows
    ]
    corrected = [
        key | {"at": at}
        for key, row in zip(keys, rows, strict=True)
        if (at := time_at(settled.zero_at, row["monotonic_us"])) is not None and at <= latest
    ]
    for statement in statements.CORRECT_TIMES if corrected else ():
        transaction.connection.execute(statement, corrected)
    transaction.connection.execute(statements.DELETE_UNCERTAIN, keys)
