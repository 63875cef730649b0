"""Opens the store of a storage directory in any state: empty, in use or damaged."""

import logging
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agent.store.crypto.old_keys import keep_as_old, open_with_old_keys, read_with_old_keys
from agent.store.crypto.vault import (
    UnusableKey,
    Vault,
    is_own_key,
    restore_key,
    set_unusable_key_aside,
)
from agent.store.db.connect import DATABASE_FILE
from agent.store.db.epochs import NEW_FILE, EpochCause
from agent.store.files.disk_space import DiskSpace, SpaceLimits
from agent.store.files.file_identity import own
from agent.store.files.lock import StoreInUse
from agent.store.files.quarantine import has_orphan_wal, list_unfinished, quarantine
from agent.store.files.storage_errors import (
    DATA_ERRORS,
    DamagedRowError,
    StorageDamagedError,
    StorageDownError,
    StorageFullError,
    storage_error_from,
)
from agent.store.rescue import is_sound_in_place, put_in_place, save_whole
from agent.store.store import Store, StoreEnvironment
from sync.runtime.files.atomic_file import sync_directory
from sync.runtime.files.private_files import make_private_directory
from sync.runtime.logging import log_event

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
    renew_lock: Callable[[], None] = lambda: None
    _vault_in_use: Vault | None = None
    _key_error: str = ""

    def open(self) -> Store:
        """Open the store. Raises a `StorageError` if that is not possible now."""
        try:
            make_private_directory(self.directory)
            own(self._database)
            put_in_place(self._database, self.environment.now_us())
            if has_orphan_wal(self._database):
                self.quarantine("a WAL without its database")
            store = self._open_or_replace()
            sync_directory(self.directory)
        except (sqlite3.Error, OSError) as cause:
            error = storage_error_from(cause, self.directory)
            # Without its ballast the store opens; its events can then be delivered and purged.
            if isinstance(error, StorageFullError) and self._space.free_ballast():
                return self.open()
            if isinstance(error, StorageFullError) and self.directory.is_dir():
                error = self._space.full_error()
            raise error from cause
        last = store.epochs.last
        log_event(_log, logging.INFO, "store.opened", epoch=last.epoch, sequence=last.sequence)
        if store.new_epoch_cause is not None:
            _log_new_epoch(
                last.epoch, store.new_epoch_cause, is_set_aside=_has_unfinished(self.directory)
            )
        return store

    def rescue(self, store: Store) -> None:
        """Save all that `store` holds into a new file: its database is not at its path any more.

        A foreign file at the path is quarantined. An altered one is used as it is if it is complete
        and there is no room for a copy. Raises a `StorageError` if that is not possible now:
        `store` still holds everything.
        """
        last = store.epochs.last if store.open_files.is_altered() else None
        try:
            make_private_directory(self.directory)
            self.restore_companions()
            save_whole(store.connection, self._database, last)
            place = put_in_place(self._database, self.environment.now_us(), store.open_files)
        except StorageFullError:
            if last is not None and is_sound_in_place(self._database, last):
                reason = "another program changed the database in use or its time: it is complete"
                log_event(_log, logging.WARNING, "store.altered", reason=reason)
                return
            if not self._space.free_ballast():
                raise
            self.rescue(store)
            return
        except (sqlite3.Error, OSError) as cause:
            raise storage_error_from(cause, self.directory) from cause
        reason = "the database was removed, replaced or moved while in use: saved as a new file"
        kept = {"replaced_by": str(place)} if place else {}
        log_event(_log, logging.ERROR, "store.rescued", reason=reason, **kept)

    def restore_companions(self) -> None:
        """Make lock and key again if they were removed. Raises `OSError`, `StorageError`."""
        try:
            self.renew_lock()
        except StoreInUse as error:
            raise StorageDownError(str(error)) from error
        if self._vault_in_use is not None and restore_key(self._vault_in_use, self.key_file):
            log_event(_log, logging.ERROR, "store.key_restored", key=str(self.key_file))

    def renew_key(self, store: Store) -> bool:
        """Use the key in the key file if that is another one by now; keep the one in use before.

        Returns whether it is. With a key file that cannot be used the one in use goes on; if the
        file is the agent's own, it is kept for the next start. Raises `OSError`.
        """
        try:
            vault = read_with_old_keys(self.key_file, self.directory)
        except (UnusableKey, OSError) as error:
            if str(error) != self._key_error:
                log_event(_log, logging.ERROR, "store.key_unusable", reason=str(error))
                if is_own_key(self.key_file, self.directory):
                    keep_as_old(store.vault, self.directory)
            self._key_error = str(error)
            return False
        self._key_error = ""
        if vault.has_key_of(store.vault):
            return False
        # First on the disk: after the next capture no other file holds the key before.
        keep_as_old(store.vault, self.directory)
        self._vault_in_use = read_with_old_keys(self.key_file, self.directory)
        store.adopt_vault(self._vault_in_use)
        log_event(_log, logging.INFO, "store.key_changed", key=vault.name)
        return True

    def quarantine(self, reason: str) -> None:
        """Quarantine the database. Raises `OSError`."""
        place = quarantine(self._database, self.environment.now_us())
        log_event(_log, logging.ERROR, "store.quarantined", reason=reason, kept_at=str(place))

    @property
    def _space(self) -> DiskSpace:
        return DiskSpace(self.directory, self.limits)

    @property
    def _database(self) -> Path:
        return self.directory / DATABASE_FILE

    def _open_or_replace(self) -> Store:
        try:
            return self._open_once()
        except sqlite3.DatabaseError as cause:
            error = storage_error_from(cause, self.directory)
            # The last resort: rows that no repair can mend, rather than no store at all.
            is_beyond_repair = isinstance(error, DamagedRowError) or isinstance(cause, DATA_ERRORS)
            if not (is_beyond_repair or isinstance(error, StorageDamagedError)):
                raise
            self.quarantine(str(error))
        return self._open_once()

    def _open_once(self) -> Store:
        return Store(self.directory, self._vault(), self.limits, self.environment)

    def _vault(self) -> Vault:
        has_key = self.key_file.exists()
        try:
            self._vault_in_use = open_with_old_keys(self.key_file, self.directory)
        except (UnusableKey, PermissionError, IsADirectoryError) as error:
            # A credential, or a file on another disk, is not ours to replace.
            if not (has_key and is_own_key(self.key_file, self.directory)):
                if isinstance(error, UnusableKey):
                    raise StorageDownError(str(error)) from error
                raise
            kept = set_unusable_key_aside(self.key_file, self.environment.now_us())
            self._vault_in_use = open_with_old_keys(self.key_file, self.directory)
            found = "held no key" if isinstance(error, UnusableKey) else f"{error.strerror}"
            self._log_new_key(f"could not be used ({found}), and is kept as {kept.name}")
        else:
            if not has_key and self._database.exists():
                self._log_new_key("was missing")
        return self._vault_in_use

    def _log_new_key(self, fault: str) -> None:
        # Captures go on; only addresses captured under a key that nothing holds any more are lost.
        reason = f"the encryption key {fault}: what only it decrypts cannot be sent, see doctor"
        log_event(_log, logging.ERROR, "store.key_created", reason=reason, key=str(self.key_file))


def _has_unfinished(directory: Path) -> bool:
    try:
        return bool(list_unfinished(directory))
    except OSError:
        return False


def _log_new_epoch(epoch: str, cause: EpochCause, *, is_set_aside: bool) -> None:
    level = logging.INFO if cause.reason == NEW_FILE else logging.WARNING
    log_event(_log, level, "store.epoch_began", epoch=epoch, reason=cause.reason)
    if cause.lost is not None and cause.lost.sequence > cause.held_through:
        first, last = cause.held_through + 1, cause.lost.sequence
        numbers = {"epoch": cause.lost.epoch, "first": first, "last": last}
        others = "head office and what is in set-aside" if is_set_aside else "only head office"
        reason = f"{cause.reason}; {others} may have these captures"
        log_event(_log, logging.ERROR, "store.captures_lost", **numbers, reason=reason)
