"""Stored gaps of a till: resolve those of returned numbers, find epochs without open gaps."""

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import RowMapping

from sync.receiver.db import statements, tables
from sync.receiver.db.bulk_insert import insert_rows
from sync.receiver.ingest.agent_transaction import AgentTransaction
from sync.receiver.ingest.epochs.returned import Ranges, resolve
from sync.receiver.ingest.rows import epoch_key, gap_of, gap_row

# Limits for one heartbeat; the next ones resolve the rest.
MAX_EPOCHS_RESOLVED = 100
MAX_GAPS_READ = 2_000


def resolve_gaps(transaction: AgentTransaction, returned: Mapping[str, Ranges]) -> None:
    """Resolve the gaps in these epochs whose captures have returned. Idempotent."""
    left = MAX_GAPS_READ
    for epoch, ranges in list(returned.items())[:MAX_EPOCHS_RESOLVED]:
        span = {"first": ranges[0][0], "last": ranges[-1][1], "most": left}
        rows = transaction.execute(statements.SELECT_GAPS_IN_SPAN, epoch, **span).mappings().all()
        left -= len(rows)
        _resolve(transaction, epoch, ranges, rows)
        if left <= 0:
            break


def _resolve(
    transaction: AgentTransaction, epoch: str, ranges: Ranges, rows: Sequence[RowMapping]
) -> None:
    now, key = transaction.now, epoch_key(transaction.agent.name, epoch)
    changed = {
        gap: parts for gap in map(gap_of, rows) if (parts := resolve(gap, ranges, now)) != [gap]
    }
    if not changed:
        return
    transaction.execute(statements.DELETE_GAPS, epoch, numbers=[gap.first for gap in changed])
    added = [gap_row(key, part, now) for parts in changed.values() for part in parts]
    insert_rows(transaction.connection, tables.gaps, added)


def epochs_without_open_gaps(
    transaction: AgentTransaction, epochs: Collection[str]
) -> frozenset[str]:
    """Return the epochs without an unacknowledged gap."""
    if not epochs:
        return frozenset()
    rows = transaction.execute(statements.SELECT_EPOCHS_WITH_OPEN_GAPS, epochs=list(epochs))
    return frozenset(epochs) - {row.epoch for row in rows}
