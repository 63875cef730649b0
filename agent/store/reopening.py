"""Keeps the store open: opens it again after each failure."""

import contextlib
import logging
import sqlite3
from time import perf_counter

from agent.store.files.storage_errors import (
    StorageDamagedError,
    StorageDownError,
    StorageError,
    StorageFullError,
    StorageLockedError,
    StorageMovedError,
    TooManyOpenFilesError,
)
from agent.store.open import StoreOpener
from agent.store.store import Store
from sync.runtime.logging import log_event

_log = logging.getLogger(__name__)
REOPEN_SECONDS = 1.0
# Reopening would not help. On a full disk, without a free descriptor or while another program has a
# lock, a file that was closed could not even be opened again.
_WAITED_OUT = (StorageFullError, StorageLockedError, TooManyOpenFilesError)


class ReopeningStore:
    """The store, reopened after each failure. Writer's thread only.

    The agent starts and answers with a full or missing disk, and takes captures as soon as it can.
    """

    def __init__(self, opener: StoreOpener, reopen_seconds: float) -> None:
        self._opener = opener
        self._reopen_seconds = reopen_seconds
        self._reopen_at = 0.0
        self._store: Store | None = None
        self._rescue_error: StorageError | None = None
        self._error: StorageError = StorageDownError("the store is not open yet")
        self._openings = 0

    @property
    def opening(self) -> int | None:
        """The number of the present opening; None while the store is closed. Any thread.

        A store that a full disk keeps closed can be read: that counts as an opening of its own.
        """
        is_readable = self._store is not None or isinstance(self._error, StorageFullError)
        return self._openings if is_readable else None

    def get(self) -> Store:
        """Return the open store, or raise the `StorageError` that prevents opening it."""
        if self._store is None:
            raise self._error.with_traceback(None)
        return self._store

    def needs_checkpoint(self, *, is_idle: bool) -> bool:
        """Return whether the WAL is to be copied now; False while the store is closed."""
        return self._store is not None and self._store.needs_checkpoint(is_idle=is_idle)

    @property
    def seconds_to_reopen(self) -> float | None:
        """The longest time until the store has to be reopened; None while it is open."""
        return self._reopen_seconds if self._store is None else None

    def open(self) -> None:
        """Open the store; log a failure when its reason changes."""
        self._reopen_at = perf_counter() + self._reopen_seconds
        try:
            store = self._opener.open()
        except StorageError as error:
            was_full = self._store is None and isinstance(self._error, StorageFullError)
            is_full = isinstance(error, StorageFullError)
            # The message of a full disk says how much is free: that is no other reason.
            if not (was_full and is_full) and str(error) != str(self._error):
                log_event(_log, logging.ERROR, "store.open_failed", reason=str(error))
            self._openings += is_full and not was_full
            self._error = error
        else:
            # First the number: another thread must not take the new store for the one before.
            self._openings += 1
            self._store = store

    def reopen_if_due(self) -> None:
        """Open the store if it is closed and the last attempt was `reopen_seconds` ago."""
        if self._store is None and perf_counter() >= self._reopen_at:
            self.open()

    def recover_from(self, error: StorageError) -> StorageError | None:
        """Quarantine a damaged file, reopen a failing one; opening repairs damaged rows.

        A moved one is saved into a new file. A full disk or a lock is only waited for.

        Returns None if another attempt makes sense, else the error to report.
        """
        if self._store is None or isinstance(error, _WAITED_OUT):
            return error
        if isinstance(error, StorageMovedError) or not self._store.open_files.are_in_place():
            return self._rescue(self._store)
        if isinstance(error, StorageDamagedError):
            # Before it is closed: closing deletes the WAL, which has older versions of the pages.
            # If the move fails, the next opening finds the damage again and retries.
            with contextlib.suppress(OSError):
                self._opener.quarantine(str(error))
        self.close()
        self.open()
        return None

    def _rescue(self, store: Store) -> StorageError | None:
        """Save a database that is not at its path any more, and open the new file.

        If that fails, the store stays open: nothing else holds its content.
        """
        if self._rescue_error is not None and perf_counter() < self._reopen_at:
            return self._rescue_error
        self._reopen_at = perf_counter() + self._reopen_seconds
        try:
            self._opener.rescue(store)
        except StorageDamagedError as error:
            # Moved before it is closed: closing would write the WAL into the foreign content.
            with contextlib.suppress(OSError):
                self._opener.quarantine(str(error))
        except StorageError as error:
            if str(error) != str(self._rescue_error):
                log_event(_log, logging.ERROR, "store.rescue_failed", reason=str(error))
            # Without its traceback, which keeps cursors and their locks.
            self._rescue_error = type(error)(str(error))
            return error
        self._rescue_error = None
        self.close()
        self.open()
        return None

    def shut_down(self) -> None:
        """Close the store; save it first if its database is not at its path any more."""
        if self._store is not None and not self._store.open_files.are_in_place():
            self._rescue(self._store)
        self.close()

    def close(self) -> None:
        """Close the store if it is open."""
        store, self._store = self._store, None
        if store is not None:
            # Acknowledged captures are on disk, so an error on close loses nothing.
            with contextlib.suppress(sqlite3.Error, OSError):
                store.close()
