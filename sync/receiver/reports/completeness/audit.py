"""Completeness audit: finds sequence numbers that are missing at head office, per store.

Each number up to `accepted_through` is a row in one of five tables, or was purged (it is at most
`purged_through`). SQL finds the numbers without a row and returns ranges only. A read is of one
store, and bounded in epochs and ranges: a till can make any number of both. An epoch whose row in
`agents` is lost is found by its remaining rows.
"""

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import sqlalchemy as sa

from sync.protocol.rfc3339 import to_rfc3339
from sync.receiver.db.database import Reads
from sync.receiver.db.paging import store_ids_in
from sync.receiver.db.period import EVER, Period
from sync.receiver.ingest.epochs.end import EpochEnd, epoch_end
from sync.receiver.reports.completeness.in_period import narrowed
from sync.receiver.reports.completeness.queries import (
    AUDITED_TABLES,
    SELECT_RETIRED_TILLS,
    queries_for,
)
from sync.receiver.reports.completeness.state import (
    AcknowledgedEnd,
    AcknowledgedGap,
    EpochCompleteness,
    Range,
    Unconfirmed,
)

EPOCHS_PER_READ = 256
# Of a kind in one read. A single epoch with more is truncated; an honest one has a few.
MAX_RANGES = 10_000
_SMALLER = 16


class _EpochKey(NamedTuple):
    till_id: str
    epoch: str


_Ranges: TypeAlias = Mapping[_EpochKey, list[Range]]


@dataclass(frozen=True, slots=True)
class _Found:
    """Ranges in the epochs of a chunk, by kind. `is_truncated`: there are more."""

    missing: _Ranges
    rejected: _Ranges
    gaps: _Ranges
    acknowledged: Mapping[_EpochKey, list[AcknowledgedGap]]
    is_truncated: bool


@dataclass(frozen=True, slots=True)
class _Chunk:
    """The next epochs of a store to read: up to `size`, above `after` (None: from the first)."""

    store_id: str
    after: _EpochKey | None
    size: int


async def audit(
    database: Reads, store_id: str | None, period: Period = EVER
) -> AsyncIterator[EpochCompleteness]:
    """Yield the epochs of one store or of all, by store, till and epoch.

    With a bounded period they are narrowed to it: see `in_period`.
    """
    async for epochs in audit_chunks(database, store_id, period):
        for epoch in epochs:
            yield epoch


async def audit_chunks(
    database: Reads, store_id: str | None, period: Period = EVER
) -> AsyncIterator[list[EpochCompleteness]]:
    """Yield the same in lists, one per read, without retired tills."""
    async for name in store_ids_in(database, AUDITED_TABLES, store_id):
        chunk: _Chunk | None = _Chunk(name, None, EPOCHS_PER_READ)
        while chunk is not None:
            epochs, chunk = await database.read(partial(_read, chunk=chunk, period=period))
            if epochs:
                yield epochs


def _read(
    connection: sa.Connection, chunk: _Chunk, period: Period
) -> tuple[list[EpochCompleteness], _Chunk | None]:
    """Return the epochs of a chunk, and the next chunk."""
    epochs, following = _read_all(connection, chunk)
    return narrowed(connection, epochs, period) if period else epochs, following


def _read_all(
    connection: sa.Connection, chunk: _Chunk
) -> tuple[list[EpochCompleteness], _Chunk | None]:
    values: dict[str, object] = {"of_store": chunk.store_id, "most": chunk.size}
    if chunk.after is not None:
        values |= {"after_till_id": chunk.after.till_id, "after_epoch": chunk.after.epoch}
    has_lower = chunk.after is not None
    listed = connection.execute(queries_for(has_lower, False).listed, values).all()
    is_last = len(listed) < chunk.size
    if not is_last:
        values |= {"through_till_id": listed[-1].till_id, "through_epoch": listed[-1].epoch}
    queries = queries_for(has_lower, not is_last)
    values["most"] = MAX_RANGES + 1
    rows = [
        connection.execute(statement, values).all()
        for statement in (queries.missing, queries.rejected, queries.gaps)
    ]
    is_truncated = max(map(len, rows)) > MAX_RANGES
    if is_truncated and chunk.size > 1:
        return [], replace(chunk, size=max(1, chunk.size // _SMALLER))
    missing, rejected, lost = (of_kind[:MAX_RANGES] for of_kind in rows)
    found = _Found(
        missing=_ranges(missing),
        rejected=_ranges(rejected),
        gaps=_ranges(row for row in lost if row.acknowledged_at is None),
        acknowledged=_acknowledged(row for row in lost if row.acknowledged_at is not None),
        is_truncated=is_truncated,
    )
    unlisted = connection.execute(queries.unlisted, values).all()
    retired = set(connection.scalars(SELECT_RETIRED_TILLS, values))
    epochs = [
        _state(row, chunk.store_id, found, is_listed=is_listed)
        for is_listed, some in ((True, listed), (False, unlisted))
        for row in some
        if row.till_id not in retired
    ]
    epochs.sort(key=lambda epoch: (epoch.till_id, epoch.epoch))
    last = None if is_last else _EpochKey(listed[-1].till_id, listed[-1].epoch)
    return epochs, None if last is None else replace(chunk, after=last)


def _state(row: sa.Row[Any], store_id: str, found: _Found, *, is_listed: bool) -> EpochCompleteness:
    key, accepted_through = _EpochKey(row.till_id, row.epoch), row.accepted_through
    missing = found.missing.get(key, [])
    outstanding = [Range(accepted_through + 1, row.last_sequence)]
    return EpochCompleteness(
        store_id=store_id,
        till_id=row.till_id,
        epoch=row.epoch,
        listed=is_listed,
        accepted_through=accepted_through,
        complete_through=missing[0].first - 1 if missing else accepted_through,
        purged_through=row.purged_through,
        outstanding=outstanding if row.last_sequence > accepted_through else [],
        rejected=found.rejected.get(key, []),
        gaps=found.gaps.get(key, []),
        acknowledged_gaps=found.acknowledged.get(key, []),
        missing=missing,
        truncated=found.is_truncated,
        **_end_of(row, is_listed=is_listed),
    )


def _end_of(row: sa.Row[Any], *, is_listed: bool) -> dict[str, Any]:
    """Return how the epoch ended, as members."""
    ended = epoch_end(partial(getattr, row)) if is_listed else None
    unconfirmed = acknowledged = None
    if ended is EpochEnd.UNCONFIRMED:
        unconfirmed = Unconfirmed(
            captures=row.last_sequence,
            followed_at=_time(row.followed_at),
            last_word_at=row.last_seen_at and _time(row.last_seen_at),
            closed_at=row.closed_at and _time(row.closed_at),
        )
    elif ended is EpochEnd.ACKNOWLEDGED:
        acknowledged = AcknowledgedEnd(**_acknowledgement(row))
    return {"ended": ended, "unconfirmed": unconfirmed, "acknowledged_end": acknowledged}


def _acknowledgement(row: sa.Row[Any]) -> dict[str, str]:
    return {
        "acknowledged_at": _time(row.acknowledged_at),
        "acknowledged_by": row.acknowledged_by or "",
        "reason": row.acknowledged_reason or "",
    }


def _time(at: datetime) -> str:
    return to_rfc3339(at, "milliseconds")


def _ranges(rows: Iterable[sa.Row[Any]]) -> _Ranges:
    """Return the ranges by till and epoch."""
    found: dict[_EpochKey, list[Range]] = {}
    for row in rows:
        key = _EpochKey(row.till_id, row.epoch)
        found.setdefault(key, []).append(Range(row.first, row.last))
    return found


def _acknowledged(rows: Iterable[sa.Row[Any]]) -> dict[_EpochKey, list[AcknowledgedGap]]:
    """Return the acknowledged gaps by till and epoch."""
    found: dict[_EpochKey, list[AcknowledgedGap]] = {}
    for row in rows:
        gap = AcknowledgedGap(first=row.first, last=row.last, **_acknowledgement(row))
        found.setdefault(_EpochKey(row.till_id, row.epoch), []).append(gap)
    return found
