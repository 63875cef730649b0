"""The open store: database, high-water mark and ballast. Writer's thread only."""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from agent.facts import Capture, Outcome, Receipt, Timestamp
from agent.store.crypto.vault import Vault
from agent.store.db.connect import (
    DATABASE_FILE,
    WAL_BYTES,
    StoreEnvironment,
    connect_for_writing,
    database_bytes,
    grow_wal,
    open_boot,
    open_epochs,
)
from agent.store.db.epochs import Epochs, begin_epoch
from agent.store.db.transactions import transaction
from agent.store.files.disk_space import DiskSpace, SpaceLimits
from agent.store.files.high_water_mark import HighWaterMark, read_mark
from agent.store.files.storage_errors import StorageError, StorageFullError, storage_error_from
from agent.store.journal.journal import Journal

T = TypeVar("T")
# A checkpoint copies the WAL's pages into the database. SQLite does not report their number
# cheaply, so this is an upper bound: a few pages for each commit, one more for each capture (its
# entry in the index of correlation ids).
PAGES_PER_COMMIT = 4
PAGES_PER_CHECKPOINT = 2_000
PAGES_BEFORE_FORCED_CHECKPOINT = 4_000
# Checking free space at each commit would cost as much as the statements. This many captures take
# far less than the space that is kept free.
ROWS_PER_ROOM_CHECK = 256

# Errors of the data or of this program, not of the disk.
_FAULTS_OF_A_CAPTURE = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.ProgrammingError)


class Store:
    """Records captures durably. Every method raises a `StorageError` if the disk fails."""

    def __init__(
        self, directory: Path, vault: Vault, limits: SpaceLimits, environment: StoreEnvironment
    ) -> None:
        self.directory = directory
        self._circumstances = environment
        self.space = DiskSpace(directory, limits)
        found = read_mark(directory)
        self.connection = connect_for_writing(directory / DATABASE_FILE, found, environment)
        self._files = contextlib.ExitStack()
        self._files.callback(self.connection.close)
        try:
            self._mark = self._files.enter_context(contextlib.closing(HighWaterMark(directory)))
            self.epochs = open_epochs(self.connection, found, environment)
            boot_number = open_boot(self.connection, environment)
        except BaseException:
            self._files.close()
            raise
        self._journal = Journal(self.connection, vault, self.epochs, boot_number)
        self._note(self.epochs.last)
        self.pages_since_checkpoint = 0
        self._rows_to_room_check = 0

    def record(
        self,
        captures: Sequence[tuple[Capture, Timestamp]],
        meanwhile: Callable[[], None] = lambda: None,
    ) -> list[Outcome]:
        """Record a group in one transaction with one sync; it is on disk on return.

        `meanwhile` is called before the disk works, and must only start other work, not wait for
        it. The numbers advance only after the commit. An exception that a single bad capture
        raises fails the whole group, with nothing written.
        """
        with self._naming_trouble():
            self._rows_to_room_check -= len(captures)
            if self._rows_to_room_check < 0:
                self.require_room()
            before = self.epochs.last_position
            outcomes = self._journal.record(captures, meanwhile)
        if rows := self.epochs.last_position - before:
            self.pages_since_checkpoint += PAGES_PER_COMMIT + rows
        self._note(self.epochs.last)
        return outcomes

    def run(self, chore: Callable[[sqlite3.Connection], T], *, touches_captures: bool = True) -> T:
        """Run `chore` in its own transaction; allowed with a full disk.

        A chore that does not touch captures leaves the journal's session cache valid.
        """
        if touches_captures:
            # A purged session must not be answered from the cache.
            self._journal.forget()
        before = self.connection.total_changes
        with self._naming_trouble(), transaction(self.connection):
            result = chore(self.connection)
        if rows := self.connection.total_changes - before:
            self.pages_since_checkpoint += PAGES_PER_COMMIT + rows
        return result

    def renumber(self, receipt: Receipt, also: Callable[[sqlite3.Connection, int], object]) -> None:
        """Begin a new epoch with the events that follow `receipt` in its epoch.

        `also` runs in the same transaction with the new epoch's base position. If no event follows,
        only the current epoch ends: new captures go to the next one.
        """
        extent = self.epochs.find(receipt.epoch)
        if extent is None:
            return
        is_current = receipt.epoch == self.epochs.last.epoch
        sequence = min(receipt.sequence, extent.last_sequence)
        if is_current:
            self._note_less(Receipt(receipt.epoch, sequence))
        elif sequence == extent.last_sequence:
            return
        base = extent.base_position + sequence
        self.epochs.take_over(self.run(lambda connection: self._begin(connection, base, also)))
        self._note(self.epochs.last)

    def _begin(
        self,
        connection: sqlite3.Connection,
        base: int,
        also: Callable[[sqlite3.Connection, int], object],
    ) -> Epochs:
        also(connection, base)
        return begin_epoch(
            connection,
            self.epochs,
            epoch=self._circumstances.new_epoch(),
            at_us=self._circumstances.now_us(),
            reason="central knows other events under these numbers",
            base_position=base,
        )

    def checkpoint(self) -> None:
        """Copy the WAL into the database file, as far as no reader needs it."""
        with self._naming_trouble():
            self.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        self.pages_since_checkpoint = 0

    def keep_up(self) -> None:
        """Run the periodic upkeep: sync the mark, create the ballast, preallocate the WAL."""
        with self._naming_trouble():
            self._mark.sync()
            self.space.keep_ballast()
            if self.space.has_room_for(WAL_BYTES):
                grow_wal(self.directory)

    def require_room(self) -> None:
        """Raise `StorageFullError` if there is no room for captures."""
        self._rows_to_room_check = 0
        with self._naming_trouble():
            self.space.require_room(database_bytes(self.directory))
        self._rows_to_room_check = ROWS_PER_ROOM_CHECK

    def close(self) -> None:
        """Sync the mark and close the file; SQLite checkpoints the rest of the WAL."""
        self._files.close()

    def _note_less(self, receipt: Receipt) -> None:
        """Lower the mark before an epoch is shortened, or a crash would look like lost commits."""
        with self._naming_trouble():
            self._mark.note(receipt.epoch, receipt.sequence)
            self._mark.sync()

    def _note(self, last: Receipt) -> None:
        # The commit stands even if this write fails; a mark that is too low only protects less.
        with contextlib.suppress(OSError):
            self._mark.note(last.epoch, last.sequence)

    @contextlib.contextmanager
    def _naming_trouble(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            if isinstance(error, _FAULTS_OF_A_CAPTURE):
                raise
            raise self._trouble_of(error) from error
        except OSError as error:
            raise self._trouble_of(error) from error

    def _trouble_of(self, error: sqlite3.Error | OSError) -> StorageError:
        trouble = storage_error_from(error, self.directory)
        if isinstance(trouble, StorageFullError):
            # Settling and purging need a little space to free more.
            self.space.give_up_ballast()
            self._rows_to_room_check = 0
        return trouble
