"""Events that came before the clock of their boot was known: corrected as soon as it is.

The first message of a boot may have been on its way for hours, and so may what it says of the
times in it. They are noted; the heartbeat by which the boot is confirmed, or the next one, corrects
them where they still stand, `MAX_SETTLED` a heartbeat. The hourly rollup keeps them in the hour in
which it counted them.
"""

from collections.abc import Collection, Mapping
from datetime import datetime

from sync.receiver.db import conditions, statements, tables
from sync.receiver.db.bulk_insert import insert_rows
from sync.receiver.ingest.agent_transaction import AgentTransaction
from sync.receiver.ingest.events import InvalidEvent
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
    """Store which of the accepted events, those of `times`, have times that are not certain."""
    if not corrector.has_uncertain:
        return
    rows: list[Row] = []
    own_boot = inbound.batch.boot_id
    for sent, event in zip(inbound.batch.events, inbound.events, strict=False):
        if event.sequence not in times or sent.monotonic_us is None:
            continue
        boot_id = sent.boot_id or own_boot
        is_known = isinstance(event, InvalidEvent) or not corrector.is_uncertain(
            event.occurred_at, boot_id, sent.monotonic_us
        )
        if not is_known:
            row: Row = {"sequence": sent.sequence, "boot_id": boot_id}
            rows.append(row | {"monotonic_us": sent.monotonic_us})
    key = epoch_key(transaction.agent.name, inbound.batch.epoch)
    insert_rows(transaction.connection, tables.uncertain_times, rows, common=key)
    for boot_id in sorted({str(row["boot_id"]) for row in rows}):
        transaction.execute(statements.UPDATE_BOOT, of_boot=boot_id, has_uncertain=True)


def correct_uncertain(transaction: AgentTransaction, epochs: Collection[str]) -> None:
    """Correct the next events of a boot that is confirmed, in these epochs, which are locked."""
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
