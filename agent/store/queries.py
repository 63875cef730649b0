"""Queries of the store for status, metrics and lookups, on short-lived read-only connections."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from agent.facts import DeliveryState, EmailStatus, Receipt
from agent.store.db.connect import DATABASE_FILE, database_bytes, read_only
from agent.store.db.cursor import DeliveryCursor, read_cursor
from agent.store.db.epochs import EpochRange, Epochs, read_epochs
from agent.store.db.event_rows import MAX_POSITION
from agent.store.db.lost_captures import LostCaptures, read_lost_captures
from agent.store.db.rows import checked, undecoded_text
from agent.store.files.quarantine import list_quarantined, list_unfinished
from agent.store.files.storage_errors import CorruptRow, free_bytes
from sync.runtime.migration_copies import MigrationCopy, list_migration_copies

_CAPTURES = """
WITH start AS (SELECT position FROM session WHERE correlation_id = :correlation_id)
SELECT event.position, event.session_position, occurred_at_us, email_answer.status,
    dead_letter.position IS NOT NULL, coalesce(settled.delivered_at_us, (
        SELECT delivered_at_us FROM delivery
        WHERE destination = 'central' AND through_position >= event.position
        ORDER BY through_position LIMIT 1
    )), receipt_alias.epoch, receipt_alias.sequence
FROM event LEFT JOIN receipt_alias ON receipt_alias.position = event.position
LEFT JOIN email_answer ON email_answer.position = event.position
LEFT JOIN dead_letter ON dead_letter.destination = 'central'
    AND dead_letter.position = event.position
LEFT JOIN settled ON settled.destination = 'central' AND settled.position = event.position
WHERE event.position IN (
    SELECT position FROM start UNION ALL SELECT email_answer.position
    FROM start JOIN email_answer ON email_answer.session_position = start.position
)
ORDER BY event.position
"""
_EARLY_PURGE = """
SELECT purged_early_at_us, purged_early_kept_us, purged_early_reason
FROM destination WHERE name = 'central' AND purged_early_at_us IS NOT NULL
"""
_NEW_EPOCH = """
SELECT began_at_us, reason FROM epoch ORDER BY base_position DESC, number DESC LIMIT 1
"""
_SALVAGE = "SELECT source, salvaged, unreadable, is_read FROM salvage"
_STATUS = f"""
SELECT
    (SELECT count(*) FROM settled WHERE destination = 'central' AND position > :watermark),
    (SELECT count(*) FROM dead_letter WHERE destination = 'central' AND discarded_at_us IS NULL),
    (SELECT occurred_at_us FROM event
        WHERE position > :watermark AND position <= {MAX_POSITION} ORDER BY position LIMIT 1),
    (SELECT occurred_at_us FROM event
        WHERE position <= {MAX_POSITION} ORDER BY position DESC LIMIT 1),
    (SELECT count(*) FROM damaged_row)
"""  # noqa: S608 - contains no value


class _Capture(NamedTuple):
    position: int
    session_position: int
    occurred_at_us: int
    status: EmailStatus | None
    is_refused: int
    delivered_at_us: int | None
    alias_epoch: str | None
    alias_sequence: int | None


@dataclass(frozen=True, slots=True)
class CaptureStatus:
    """State of one capture. Times in microseconds since 1970 UTC; `status` of an e-mail answer."""

    receipt: Receipt
    captured_at_us: int
    state: DeliveryState
    delivered_at_us: int | None
    status: EmailStatus | None


@dataclass(frozen=True, slots=True)
class EpochProgress:
    """The last sequence number of an epoch, and the last one that central settled without a gap.

    All events from `base_sequence` on are held. `ended_reason` and `moved_through`: see
    `EpochRange`; without a reason also while it is not known which captures of it are lost, those
    up to `lost_through`.
    """

    epoch: str
    last_sequence: int
    settled_through: int
    base_sequence: int = 1
    ended_reason: str = ""
    moved_through: int = 0
    lost_through: int = 0


class EarlyPurge(NamedTuple):
    """The last purge ahead of retention: when, how long its events had been kept, which limit."""

    at_us: int
    kept_us: int
    limit: str


class NewEpoch(NamedTuple):
    """When the current epoch began, and why."""

    began_at_us: int
    reason: str


@dataclass(frozen=True, slots=True)
class SalvageStatus:
    """Quarantined databases not read to the end, captures fed in from them, unreadable ones."""

    pending: int
    salvaged: int
    unreadable: int


@dataclass(frozen=True, slots=True)
class StorageStatus:
    """State of the store, for the status page, metrics and heartbeats.

    Sizes in bytes, times in microseconds since 1970 UTC. The last of `epochs` is the current one;
    `waiting` counts the pending events of all epochs, `damaged_rows` the rows that were repaired.
    `epochs` has those of `lost` as well, even if the database has not; head office may have
    captures of `lost`.
    """

    epochs: list[EpochProgress]
    new_epoch: NewEpoch
    lost: list[LostCaptures]
    waiting: int
    oldest_waiting_at_us: int | None
    last_activity_at_us: int | None
    dead_letters: int
    damaged_rows: int
    database_bytes: int
    free_bytes: int
    quarantined: list[str]
    salvage: SalvageStatus
    early_purge: EarlyPurge | None
    copies: list[MigrationCopy]

    @property
    def current(self) -> EpochProgress:
        """The epoch of new captures."""
        return self.epochs[-1]


class StoreReader:
    """Queries the store of a directory. Blocking: call it off the event loop."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def session(self, correlation_id: str) -> list[CaptureStatus]:
        """Return a session start and its answers, in order; empty if there is none."""
        with read_only(self._directory) as connection, undecoded_text(connection):
            epochs = read_epochs(connection)
            watermark = read_cursor(connection).watermark
            rows = connection.execute(_CAPTURES, {"correlation_id": correlation_id})
            return [
                CaptureStatus(
                    receipt=_receipt(row, epochs),
                    captured_at_us=row.occurred_at_us,
                    state=_state(row, watermark),
                    delivered_at_us=None if row.is_refused else row.delivered_at_us,
                    status=row.status,
                )
                for row in map(_capture, rows)
            ]

    def status(self) -> StorageStatus:
        """Return backlog and sizes; the cost does not depend on the backlog."""
        with read_only(self._directory) as connection:
            return self.status_on(connection)

    def status_on(self, connection: sqlite3.Connection) -> StorageStatus:
        """Return backlog and sizes, as read on `connection`."""
        with undecoded_text(connection):
            epochs = read_epochs(connection)
            cursor = read_cursor(connection)
            row = connection.execute(_STATUS, {"watermark": cursor.watermark}).fetchone()
            early_purge = read_early_purge(connection)
            lost = read_lost_captures(connection, self._directory)
            new_epoch = read_new_epoch(connection)
            salvage = _read_salvage(connection, list_unfinished(self._directory))
        settled_ahead, dead_letters, oldest_at_us, newest_at_us, damaged_rows = row
        return StorageStatus(
            epochs=_with_lost([_progress(known, cursor) for known in epochs.ranges], lost),
            new_epoch=new_epoch,
            lost=lost,
            waiting=max(epochs.last_position - cursor.watermark - settled_ahead, 0),
            oldest_waiting_at_us=_time(oldest_at_us),
            last_activity_at_us=_time(newest_at_us),
            dead_letters=dead_letters,
            damaged_rows=damaged_rows,
            database_bytes=database_bytes(self._directory),
            free_bytes=free_bytes(self._directory),
            quarantined=list_quarantined(self._directory),
            salvage=salvage,
            early_purge=early_purge,
            copies=list_migration_copies(self._directory / DATABASE_FILE),
        )


def read_new_epoch(connection: sqlite3.Connection) -> NewEpoch:
    """Return when the current epoch began, and why."""
    return checked(connection.execute(_NEW_EPOCH).fetchone(), NewEpoch)


def read_early_purge(connection: sqlite3.Connection) -> EarlyPurge | None:
    """Return the last purge for lack of room; None if there was none."""
    row = connection.execute(_EARLY_PURGE).fetchone()
    try:
        return None if row is None else checked(row, EarlyPurge)
    except CorruptRow:
        return None


def _read_salvage(connection: sqlite3.Connection, unfinished: list[str]) -> SalvageStatus:
    """Return the state of the salvage; `unfinished` are the names of its sources."""
    rows = [row for row in connection.execute(_SALVAGE) if _is_readable(row)]
    read = {source for source, _, _, is_read in rows if is_read}
    return SalvageStatus(
        pending=len(set(unfinished) - read),
        salvaged=sum(salvaged for _, salvaged, _, _ in rows),
        unreadable=sum(unreadable for _, _, unreadable, _ in rows),
    )


def _is_readable(row: Sequence[object]) -> bool:
    source, *counts = row
    return isinstance(source, str) and all(isinstance(count, int) for count in counts)


def _receipt(row: _Capture, epochs: Epochs) -> Receipt:
    """Return the first receipt of the capture."""
    if row.alias_epoch is None or row.alias_sequence is None:
        return epochs.receipt(row.position)
    return Receipt(row.alias_epoch, row.alias_sequence)


def _capture(values: Sequence[object]) -> _Capture:
    """Return a capture; what is damaged of it is unknown, and the delivery reports it."""
    row = _Capture._make(values)
    is_alias = isinstance(row.alias_epoch, str) and isinstance(row.alias_sequence, int)
    return row._replace(
        occurred_at_us=_time(row.occurred_at_us) or 0,
        status=next((known for known in EmailStatus if known == row.status), None),
        delivered_at_us=_time(row.delivered_at_us),
        alias_epoch=row.alias_epoch if is_alias else None,
    )


def _time(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _state(row: _Capture, watermark: int) -> DeliveryState:
    if row.is_refused:
        return DeliveryState.REFUSED
    is_settled = row.position <= watermark or row.delivered_at_us is not None
    return DeliveryState.DELIVERED if is_settled else DeliveryState.WAITING


def _progress(known: EpochRange, cursor: DeliveryCursor) -> EpochProgress:
    settled = min(max(0, cursor.watermark - known.base_position), known.last_sequence)
    base_sequence = known.base_sequence(cursor.purged_through)
    return EpochProgress(
        known.epoch,
        known.last_sequence,
        settled,
        base_sequence,
        known.ended_reason,
        known.moved_through,
    )


def _with_lost(epochs: list[EpochProgress], lost: list[LostCaptures]) -> list[EpochProgress]:
    """Return `epochs` with their losses, and before them those that only `lost` names.

    Until it is certain what is lost, such an epoch is not reported as ended.
    """
    held = {one.epoch: one for one in epochs}
    absent = [
        EpochProgress(one.epoch, 0, 0, ended_reason=one.reason)
        for one in lost
        if one.epoch not in held
    ]
    of_epoch = {one.epoch: one for one in lost}
    return [_with_loss(one, of_epoch.get(one.epoch)) for one in [*absent, *epochs]]


def _with_loss(progress: EpochProgress, lost: LostCaptures | None) -> EpochProgress:
    if lost is None:
        return progress
    if lost.is_open:
        return replace(progress, ended_reason="")
    return replace(
        progress,
        moved_through=max(progress.moved_through, lost.moved_through),
        lost_through=lost.lost_through if lost.count else 0,
    )
