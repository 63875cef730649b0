"""Opens the store of a storage directory in any state: empty, in use or damaged."""

import logging
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from agent.store.crypto.vault import UnusableKey, Vault, open_vault
from agent.store.db.connect import DATABASE_FILE
from agent.store.files.disk_space import DiskSpace, SpaceLimits
from agent.store.files.quarantine import has_orphan_wal, quarantine
from agent.store.files.storage_errors import (
    StorageDamagedError,
    StorageDownError,
    StorageFullError,
    storage_error_from,
)
from agent.store.store import Store, StoreEnvironment
from sync.runtime.atomic_file import sync_directory
from sync.runtime.logging import log_event
from sync.runtime.private_files import make_private_directory

_log = logging.getLogger(__name__)


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
