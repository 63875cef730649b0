"""Opens the store of a storage directory in any state: empty, in use or damaged."""

import contextlib
import logging
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from agent.store.crypto.vault import UnusableKey, Vault, open_vault
from agent.store.db.connect import DATABASE_FILE
from agent.store.files.disk_space import DiskSpace, SpaceLimits
from agent.store.files.quarantine import has_orphan_wal, quarantine
from agent.store.files.storage_errors import (
    StorageDamagedError,
    StorageDownError,
    StorageError,
    StorageFullError,
    TooManyOpenFilesError,
    storage_error_from,
)
from agent.store.store import Store, StoreEnvironment
from sync.runtime.atomic_file import sync_directory
from sync.runtime.logging import log_event
from sync.runtime.private_files import make_private_directory

_log = logging.getLogger(__name__)
REOPEN_SECONDS = 1.0


@dataclass(slots=True)
class StoreOpener:
    """Opens the store of `directory`, each time the writer needs it.

    A database file that is damaged is quarantined, never deleted, and replaced by a new one with a
    new epoch: captures go on, and the old file can be salvaged.
    """

    directory: Path
    key_file: Path
    limits: SpaceLimits
    environment: StoreEnvironment

    def open(self) -> Store:
        """Open the store. Raises a `StorageError` if that is not possible now."""
        try:
            make_private_directory(self.directory)
            if has_orphan_wal(self._database):
                self.quarantine("a WAL without its database")
            store = self._open_or_replace()
            sync_directory(self.directory)
        except (sqlite3.Error, OSError) as cause:
            error = storage_error_from(cause, self.directory)
            # Without its ballast the store opens; its events can then be delivered and purged.
            space = DiskSpace(self.directory, self.limits)
            if isinstance(error, StorageFullError) and space.free_ballast():
                return self.open()
            raise error from cause
        last = store.epochs.last
        log_event(_log, logging.INFO, "store.opened", epoch=last.epoch, sequence=last.sequence)
        return store

    def quarantine(self, reason: str) -> None:
        """Quarantine the database. Raises `OSError`."""
        place = quarantine(self._database, self.environment.now_us())
        log_event(_log, logging.ERROR, "store.quarantined", reason=reason, kept_at=str(place))

    @property
    def _database(self) -> Path:
        return self.directory / DATABASE_FILE

    def _open_or_replace(self) -> Store:
        try:
            return self._open_once()
        except sqlite3.DatabaseError as cause:
            error = storage_error_from(cause, self.directory)
            if not isinstance(error, StorageDamagedError):
                raise
            self.quarantine(str(error))
        return self._open_once()

    def _open_once(self) -> Store:
        return Store(self.directory, self._vault(), self.limits, self.environment)

    def _vault(self) -> Vault:
        has_key = self.key_file.exists()
        try:
            vault = open_vault(self.key_file)
        except UnusableKey as error:
            raise StorageDownError(str(error)) from error
        if not has_key and self._database.exists():
            # Captures go on; only the addresses captured under the old key are lost.
            reason = "the encryption key was missing: addresses stored under it cannot be decrypted"
            log_event(
                _log, logging.ERROR, "store.key_created", reason=reason, key=str(self.key_file)
            )
        return vault


class ReopeningStore:
    """The store, reopened after each failure. Writer's thread only.

    The agent starts and answers with a full or missing disk, and takes captures as soon as it can.
    """

    def __init__(self, opener: StoreOpener, reopen_seconds: float) -> None:
        self._opener = opener
        self._reopen_seconds = reopen_seconds
        self._reopen_at = 0.0
        self._store: Store | None = None
        self._error: StorageError = StorageDownError("the store is not open yet")

    def get(self) -> Store:
        """Return the open store, or raise the `StorageError` that prevents opening it."""
        if self._store is None:
            raise self._error.with_traceback(None)
        return self._store

    def needs_checkpoint(self, *, is_idle: bool) -> bool:
        """Return True if the WAL is to be copied now; False while the store is closed."""
        return self._store is not None and self._store.needs_checkpoint(is_idle=is_idle)

    @property
    def seconds_to_reopen(self) -> float | None:
        """The longest time until the store has to be reopened; None while it is open."""
        return self._reopen_seconds if self._store is None else None

    def open(self) -> None:
        """Open the store; log a failure when its reason changes."""
        self._reopen_at = perf_counter() + self._reopen_seconds
        try:
            self._store = self._opener.open()
        except StorageError as error:
            if str(error) != str(self._error):
                log_event(_log, logging.ERROR, "store.open_failed", reason=str(error))
            self._error = error

    def reopen_if_due(self) -> None:
        """Open the store if it is closed and the last attempt was `reopen_seconds` ago."""
        if self._store is None and perf_counter() >= self._reopen_at:
            self.open()

    def recover_from(self, error: StorageError) -> bool:
        """Quarantine a damaged file, reopen a failing one.

        With a full disk, or without a free descriptor, only wait: a file that was closed could
        not be opened again.

        Returns True if another attempt makes sense.
        """
        if self._store is None or isinstance(error, StorageFullError | TooManyOpenFilesError):
            return False
        self.close()
        if isinstance(error, StorageDamagedError):
            # If the move fails, the next opening finds the damage again and retries.
            with contextlib.suppress(OSError):
                self._opener.quarantine(str(error))
        self.open()
        return True

    def close(self) -> None:
        """Close the store if it is open."""
        store, self._store = self._store, None
        if store is not None:
            # Acknowledged captures are on disk, so an error on close loses nothing.
            with contextlib.suppress(sqlite3.Error, OSError):
                store.close()
