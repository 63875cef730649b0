"""Room for captures: delivered events make way before a capture is rejected.

A till must not wait for a purge, so it is done ahead, in the background, from 90 % of `max_bytes`
on. If captures come faster, a check purges a little itself.
"""

import logging
import sqlite3
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

from agent.store.db.connect import reusable_bytes, used_bytes
from agent.store.db.wal import WAL_BYTES, wal_of
from agent.store.files.disk_space import DiskSpace, SpaceLimits
from agent.store.files.storage_errors import StorageFullError
from sync.runtime.logging import log_event

_log = logging.getLogger(__name__)
_HOUR_US = 3600 * 1_000_000
_DAY_US = 24 * _HOUR_US
# A customer may still answer, and the till may still repeat: both need the session.
_RECENT_US = _HOUR_US
# Checking free space at each commit would cost as much as the statements. This many captures take
# far less than the space that is kept free.
CAPTURES_PER_CHECK = 256
# While room is short: fewer captures than the purges of a check delete events.
CAPTURES_PER_PURGE = 64
PURGES_PER_CHECK = 2
NEARLY_FULL = 0.9


class EarlyPurgeReason(StrEnum):
    """The setting with the limit that caused a purge ahead of retention."""

    MAX_BYTES = "max_bytes"
    MIN_FREE_BYTES = "min_free_bytes"


def wal_bytes(limits: SpaceLimits) -> int:
    """Return the size of the WAL between two checkpoints: less for a very small `max_bytes`."""
    return min(WAL_BYTES, limits.max_bytes // 4)


class Room:
    """Room of one open store. Writer's thread only.

    `purge` deletes some delivered events and returns for how many microseconds they had been kept,
    or None if there are none; it spares those captured within its second argument.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        database: Path,
        space: DiskSpace,
        limits: SpaceLimits,
        purge: Callable[[EarlyPurgeReason, int], int | None],
    ) -> None:
        self._connection = connection
        self._wal = wal_of(database)
        self._space = space
        self._limits = limits
        self._purge = purge
        # The changes made when there was last nothing to purge: without more there is nothing yet.
        self._changes_without_any = {_RECENT_US: -1, 0: -1}

    def require(self) -> int:
        """Return the number of captures that may be taken until the next check.

        Purges delivered events if there is no room: at `max_bytes` also recent ones, if there are
        no others. Raises `StorageFullError` if there are none.
        """
        for purges in range(PURGES_PER_CHECK):
            try:
                self._space.require_room(self._used_bytes(), reusable_bytes(self._connection))
            except StorageFullError:
                if not (self._purge_some(_RECENT_US) or self._purge_recent()):
                    raise
            else:
                return CAPTURES_PER_PURGE if purges else CAPTURES_PER_CHECK
        return CAPTURES_PER_PURGE

    def make_ahead(self) -> bool:
        """Purge some delivered events if `max_bytes` is near; return whether any were purged."""
        is_near = self._used_bytes() >= NEARLY_FULL * self._limits.max_bytes
        return is_near and self._purge_some(_RECENT_US)

    def _used_bytes(self) -> int:
        """Return the size of the database without free pages, and of the WAL up to its limit.

        SQLite truncates a WAL that grew behind a long reader, if not at once.
        """
        wal = self._wal.stat().st_size if self._wal.exists() else 0
        return used_bytes(self._connection) + min(wal, wal_bytes(self._limits))

    def _purge_recent(self) -> bool:
        # A full disk is no reason: it can be freed, and the customers' answers need the sessions.
        is_full = self._used_bytes() >= self._limits.max_bytes
        return is_full and self._purge_some(0)

    def _purge_some(self, spared_us: int) -> bool:
        if self._connection.total_changes == self._changes_without_any[spared_us]:
            return False
        is_large = self._used_bytes() >= NEARLY_FULL * self._limits.max_bytes
        reason = EarlyPurgeReason.MAX_BYTES if is_large else EarlyPurgeReason.MIN_FREE_BYTES
        if self._purge(reason, spared_us) is None:
            self._changes_without_any[spared_us] = self._connection.total_changes
            return False
        return True


class EarlyPurgeLog:
    """Logs that delivered events are purged ahead of their retention, at most once an hour."""

    def __init__(self) -> None:
        self._logged_at_us: int | None = None

    def add(self, kept_us: int, reason: EarlyPurgeReason, now_us: int) -> None:
        """Log a purge of events that had been kept for `kept_us` since their delivery."""
        logged_at_us = self._logged_at_us
        if logged_at_us is not None and 0 <= now_us - logged_at_us < _HOUR_US:
            return
        self._logged_at_us = now_us
        kept_days = round(kept_us / _DAY_US, 1)
        log_event(
            _log, logging.WARNING, "store.purged_early", kept_days=kept_days, limit=str(reason)
        )
