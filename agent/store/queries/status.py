"""State of the store: backlog, sizes, losses, salvage."""

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from agent.store.db.connect import DATABASE_FILE, database_bytes
from agent.store.db.cursor import COUNT_WAITING, read_cursor
from agent.store.db.epochs import read_epochs
from agent.store.db.event_rows import MAX_POSITION
from agent.store.db.lost_captures import LostCaptures, read_lost_captures
from agent.store.db.rows import checked, int_or_none, intact_rows, undecoded_text
from agent.store.db.tables import IS_OPEN, STUCK_ATTEMPTS
from agent.store.files.quarantine import list_quarantined, list_unfinished, unreadable_in
from agent.store.files.storage_errors import CorruptRow, free_bytes
from agent.store.queries.epoch_progress import EpochProgress, progress_of
from sync.runtime.files.migration_copies import MigrationCopy, list_migration_copies

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
    {COUNT_WAITING},
    (SELECT count(*) FROM dead_letter WHERE destination = 'central' AND {IS_OPEN}
        AND stuck_since_us IS NULL),
    (SELECT count(*) FROM dead_letter WHERE destination = 'central'
        AND stuck_since_us IS NOT NULL AND attempts >= {STUCK_ATTEMPTS}),
    (SELECT occurred_at_us FROM event WHERE position = (
        SELECT position FROM dead_letter WHERE destination = 'central'
            AND stuck_since_us IS NOT NULL ORDER BY position LIMIT 1
    )),
    (SELECT occurred_at_us FROM event
        WHERE position > :watermark AND position <= {MAX_POSITION} ORDER BY position LIMIT 1),
    (SELECT occurred_at_us FROM event
        WHERE position <= {MAX_POSITION} ORDER BY position DESC LIMIT 1),
    (SELECT count(*) FROM damaged_row)
"""  # noqa: S608 - contains no value


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
    `waiting` counts the pending events of all epochs and the deferred ones, of which `stuck` have
    failed often; `damaged_rows` the rows that were repaired.
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
    stuck: int
    damaged_rows: int
    database_bytes: int
    free_bytes: int
    quarantined: list[str]
    kept_quarantined: list[str]
    salvage: SalvageStatus
    early_purge: EarlyPurge | None
    copies: list[MigrationCopy]

    @property
    def current(self) -> EpochProgress:
        """The epoch of new captures."""
        return self.epochs[-1]


def read_status(connection: sqlite3.Connection, directory: Path) -> StorageStatus:
    """Return backlog and sizes of the store in `directory`."""
    with undecoded_text(connection):
        epochs = read_epochs(connection)
        cursor = read_cursor(connection)
        values = {"last": epochs.last_position, "watermark": cursor.watermark}
        row = connection.execute(_STATUS, values).fetchone()
        early_purge = read_early_purge(connection)
        lost = read_lost_captures(connection, directory)
        new_epoch = read_new_epoch(connection)
        salvage = _read_salvage(connection, list_unfinished(directory))
    quarantined = list_quarantined(directory)
    waiting, dead_letters, stuck, deferred_at_us, oldest_at_us, newest_at_us, damaged_rows = row
    oldest = [at for at in map(int_or_none, (deferred_at_us, oldest_at_us)) if at is not None]
    return StorageStatus(
        epochs=progress_of(epochs.ranges, cursor, lost),
        new_epoch=new_epoch,
        lost=lost,
        waiting=waiting,
        oldest_waiting_at_us=min(oldest, default=None),
        last_activity_at_us=int_or_none(newest_at_us),
        dead_letters=dead_letters,
        stuck=stuck,
        damaged_rows=damaged_rows,
        database_bytes=database_bytes(directory),
        free_bytes=free_bytes(directory),
        quarantined=quarantined,
        kept_quarantined=[
            name for name in quarantined if unreadable_in(directory, name) is not None
        ],
        salvage=salvage,
        early_purge=early_purge,
        copies=list_migration_copies(directory / DATABASE_FILE),
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
    rows = list(intact_rows(connection.execute(_SALVAGE), tuple[str, int, int, int]))
    read = {source for source, _, _, is_read in rows if is_read}
    return SalvageStatus(
        pending=len(set(unfinished) - read),
        salvaged=sum(salvaged for _, salvaged, _, _ in rows),
        unreadable=sum(unreadable for _, _, unreadable, _ in rows),
    )
