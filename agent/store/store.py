"""The open store: database, high-water mark and ballast. Writer's thread only."""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, TypeVarTuple

from sqlmodel import Session

from agent.facts import Capture, Outcome, Receipt, Timestamp
from agent.store.crypto.vault import Vault
from agent.store.db.connect import DATABASE_FILE, connect_for_writing, expect_lock, limit_wal
from agent.store.db.epochs import Epochs
from agent.store.db.repair.repair import open_repaired_epochs
from agent.store.db.stale_frames import overwrite_stale_frames, restart_log
from agent.store.db.transaction import session_on, transaction, writing_engine
from agent.store.db.wal import WAL_BYTES, preallocate_wal, wal_of
from agent.store.files.disk_space import DiskSpace, SpaceLimits
from agent.store.files.file_identity import OpenFiles
from agent.store.files.high_water_mark import HighWaterMark, read_high_water_mark
from agent.store.files.storage_errors import (
    DATA_ERRORS,
    StorageFullError,
    StorageLockedError,
    StorageMovedError,
    storage_error_from,
)
from agent.store.journal.boots import open_boot
from agent.store.journal.journal import Group, Journal
from agent.store.retention.make_room import purge_oldest_delivered
from agent.store.room import EarlyPurgeLog, EarlyPurgeReason, Room, wal_bytes

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")
# A checkpoint copies the WAL's pages into the database. SQLite does not report their number
# cheaply, so this is an upper bound: a few pages for each commit, one more for each capture (its
# entry in the index of correlation ids).
PAGES_PER_COMMIT = 4
PAGES_PER_CHECKPOINT = 2_000
PAGES_BEFORE_FORCED_CHECKPOINT = 4_000
PAGE_BYTES = 4_096


@dataclass(frozen=True, slots=True)
class StoreEnvironment:
    """Inputs of the store from outside: clock, new epoch ids, boot id of the machine."""

    now_us: Callable[[], int]
    new_epoch: Callable[[], str]
    boot_id: str


class Store:
    """Records captures durably. Every method raises a `StorageError` if the disk fails."""

    def __init__(
        self, directory: Path, vault: Vault, limits: SpaceLimits, environment: StoreEnvironment
    ) -> None:
        self.directory = directory
        self.environment = environment
        self.vault = vault
        self.space = DiskSpace(directory, limits)
        self._wal_bytes = wal_bytes(limits)
        last_commit = read_high_water_mark(directory)
        self._database = directory / DATABASE_FILE
        self.connection = connect_for_writing(self._database, last_commit, environment.now_us)
        limit_wal(self.connection, self._wal_bytes)
        self._engine = writing_engine(self.connection)
        self._files = contextlib.ExitStack()
        self._files.callback(self.connection.close)
        try:
            self._mark = self._files.enter_context(contextlib.closing(HighWaterMark(directory)))
            with transaction(self.connection):
                self.epochs, self.new_epoch_cause = open_repaired_epochs(
                    self.connection, last_commit, environment.now_us, environment.new_epoch
                )
                boot_number = open_boot(self.connection, environment.boot_id, environment.now_us())
            opened = OpenFiles(self._database)
            self.open_files = self._files.enter_context(contextlib.closing(opened))
            self.journal = Journal(self.connection, vault, self.epochs, boot_number)
        except BaseException:
            self._files.close()
            raise
        self._write_mark()
        self.pages_since_checkpoint = 0
        # Every job may have erased something; a log left by an earlier process may hold it, too.
        self._needs_scrub = True
        self._room = Room(self.connection, self._database, self.space, limits, self._purge_early)
        self._purge_log = EarlyPurgeLog()
        self._captures_to_room_check = 0
        self._was_moved = False
        self._is_locked = False

    def decide(self, captures: Sequence[tuple[Capture, Timestamp]]) -> Group:
        """Decide a group without writing. Raises the exception of a single bad capture."""
        if self._was_moved:
            self.require_in_place()
        with self._storage_errors():
            self._captures_to_room_check -= len(captures)
            if self._captures_to_room_check < 0:
                self.require_room()
            return self.journal.decide(captures)

    def write(self, group: Group) -> list[Outcome]:
        """Write a decided group in one transaction; it is on disk on return.

        The numbers advance only after the commit, and the high-water mark after both. Raises
        `StorageMovedError` if the group was written into a file that is not at its path any more.
        """
        before = self.epochs.last_position
        with self._storage_errors():
            outcomes = self.journal.write(group)
        self._note_lock(is_locked=False)
        if rows := self.epochs.last_position - before:
            body_bytes = sum(map(len, group.bodies.values()))
            self.pages_since_checkpoint += PAGES_PER_COMMIT + rows + body_bytes // PAGE_BYTES
        self._write_mark()
        self.require_in_place(with_index=False)
        return outcomes

    def holds(self, group: Group) -> bool:
        """Return whether a group is committed although its commit reported an error."""
        with self._storage_errors():
            return self.journal.holds(group)

    def clear_cache(self) -> None:
        """Clear the caches, for a job that deletes or adds captures."""
        with self._storage_errors():
            self.journal.clear_cache()

    def run(self, job: Callable[[sqlite3.Connection, *Arguments], T], *arguments: *Arguments) -> T:
        """Run `job` in its own transaction; allowed with a full disk."""
        with self._counting_pages(), transaction(self.connection):
            return job(self.connection, *arguments)

    def run_in_session(self, job: Callable[[Session, *Arguments], T], *arguments: *Arguments) -> T:
        """Run `job` in a session with its own transaction; allowed with a full disk."""
        with self._counting_pages(), session_on(self._engine) as session:
            return job(session, *arguments)

    def adopt_epochs(self, epochs: Epochs) -> None:
        """Use `epochs`, as committed by a job, and record them in the high-water mark."""
        self.epochs.replace_by(epochs)
        self._write_mark()

    def adopt_vault(self, vault: Vault) -> None:
        """Encrypt with the key of `vault` from now on; it decrypts with the keys before, too."""
        self.vault = vault
        self.journal.adopt_vault(vault)

    def lower_mark(self, receipt: Receipt) -> None:
        """Lower the mark before an epoch is shortened, or a crash would look like lost commits."""
        with self._storage_errors():
            self._mark.write(receipt)
            self._mark.sync()

    def needs_checkpoint(self, *, is_idle: bool) -> bool:
        """Return whether the WAL has grown so far that it is to be copied now."""
        bound = PAGES_PER_CHECKPOINT if is_idle else PAGES_BEFORE_FORCED_CHECKPOINT
        return self.pages_since_checkpoint * WAL_BYTES >= bound * self._wal_bytes

    def checkpoint(self) -> bool:
        """Copy the WAL into the database file, as far as no reader needs it; return whether all."""
        self.require_in_place()
        try:
            with self._storage_errors():
                rows = self.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        finally:
            self.open_files.note_checkpoint()
        self.pages_since_checkpoint = 0
        ((is_busy, frames, copied),) = rows
        return not is_busy and frames == copied

    def begin_scrub(self) -> bool | None:
        """Begin a new log, so that all frames written before are stale.

        Returns None if nothing was erased since the last scrub, False if a reader still needs the
        log: retry later.
        """
        if not self._needs_scrub:
            return None
        if not self.checkpoint():
            return False
        with self._storage_errors():
            if not restart_log(self.connection, wal_of(self._database)):
                return False
        self._needs_scrub = False
        return True

    def scrub_step(self, first: int) -> int | None:
        """Overwrite some stale frames of the WAL; return where to continue, None at the end."""
        self.require_in_place()
        # A step that fails leaves the rest to a new scrub.
        needs_scrub, self._needs_scrub = self._needs_scrub, True
        with self._storage_errors():
            following = overwrite_stale_frames(wal_of(self._database), first)
        self._needs_scrub = needs_scrub
        return following

    def run_maintenance(self) -> None:
        """Run the periodic upkeep: sync the mark, create the ballast, preallocate the WAL."""
        self.require_in_place()
        with self._storage_errors():
            if self._mark.renew_if_missing():
                self._mark.write(self.epochs.last)
            self._mark.sync()
            self.space.create_ballast()
            if self.space.has_room_for(self._wal_bytes):
                preallocate_wal(self._database, self._wal_bytes)

    def require_room(self) -> None:
        """Raise `StorageFullError` if there is no room for captures.

        Delivered events are purged first, ahead of their retention.
        """
        self._captures_to_room_check = 0
        self.require_in_place()
        with self._storage_errors():
            self._captures_to_room_check = self._room.require()

    def make_room(self) -> bool:
        """Purge some delivered events early if room gets short; return whether any were purged."""
        with self._storage_errors():
            return self._room.make_ahead()

    def require_writable(self) -> None:
        """Raise the `StorageError` because of which no capture could be recorded now."""
        self.require_room()
        with self._storage_errors():
            self.connection.execute("BEGIN IMMEDIATE")
            self.connection.execute("ROLLBACK")
        self._note_lock(is_locked=False)

    def require_in_place(self, *, with_index: bool = True) -> None:
        """Raise `StorageMovedError` if the database was removed, replaced, moved or altered."""
        self._was_moved = not self.open_files.are_in_place(with_index=with_index)
        if self._was_moved:
            raise StorageMovedError(
                f"the database in {self.directory} was removed, replaced or moved while in use"
            )

    def close(self) -> None:
        """Sync the mark and close the file; SQLite checkpoints the rest of the WAL."""
        self._files.close()

    def _purge_early(self, reason: EarlyPurgeReason, spared_us: int) -> int | None:
        self.clear_cache()
        now_us = self.environment.now_us()
        kept_us = self.run(purge_oldest_delivered, now_us, reason, spared_us)
        if kept_us is not None:
            self._purge_log.add(kept_us, reason, now_us)
        return kept_us

    def _write_mark(self) -> None:
        # The commit stands even if this write fails; a mark that is too low only protects less.
        with contextlib.suppress(OSError):
            self._mark.write(self.epochs.last)

    def _note_lock(self, *, is_locked: bool) -> None:
        if is_locked != self._is_locked:
            self._is_locked = is_locked
            with contextlib.suppress(sqlite3.Error):
                expect_lock(self.connection, is_locked=is_locked)

    @contextlib.contextmanager
    def _counting_pages(self) -> Iterator[None]:
        before = self.connection.total_changes
        with self._storage_errors():
            yield
        self._note_lock(is_locked=False)
        if rows := self.connection.total_changes - before:
            self.pages_since_checkpoint += PAGES_PER_COMMIT + rows
            self._needs_scrub = True

    @contextlib.contextmanager
    def _storage_errors(self) -> Iterator[None]:
        """Turn errors of SQLite and of the system into `StorageError`s."""
        try:
            yield
        except DATA_ERRORS:
            raise
        except (sqlite3.DatabaseError, OSError) as cause:
            error = storage_error_from(cause, self.directory)
            self._note_lock(is_locked=isinstance(error, StorageLockedError))
            if isinstance(error, StorageFullError):
                # Settling and purging need a little space to free more.
                self.space.free_ballast()
                self._captures_to_room_check = 0
                error = self.space.full_error()
            raise error from cause
