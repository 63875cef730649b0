"""Reads all undelivered events of a database, beside a running agent or without one.

*Obvious:* one transaction for all of it. *Why not:* the agent's checkpoints would wait for its end.
*Instead:* a few windows for each connection. What the agent delivers meanwhile is skipped, or is
exported as well: head office recognises it.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

from agent.store.crypto.vault import UnusableKey
from agent.store.db.connect import DATABASE_FILE
from agent.store.db.cursor import LETTER_IS_SETTLED, DeliveryCursor, read_cursor
from agent.store.db.epochs import Epochs, read_epochs
from agent.store.db.inspection import inspect_database
from agent.store.db.migrate import NEWEST_REVISION, revision_of
from agent.store.files.storage_errors import StorageError, storage_error_from
from agent.store.outbox.outbox import KNOWS_EPOCH
from agent.store.outbox.window_sql import IS_UNDELIVERED, PENDING, UNDELIVERED_APART
from agent.store.outbox.windows import WindowReader
from sync.delivery.outbox import BatchLimits, Window
from sync.protocol.wire import EpochExtent

# Half of a megabyte of JSON, as one transaction at head office.
_LIMITS = BatchLimits(events=500, max_bytes=512 * 1024)
_WINDOWS_PER_READ = 8
_READ_SECONDS = 60.0
# A time at which no retry is to wait any more.
_ALL_ARE_DUE = 2**62
# As many as a heartbeat names, and all that have undelivered events.
_MOST_DELIVERED_EPOCHS = 100
_APART = f"""
SELECT count(*) FROM dead_letter
WHERE destination = 'central' AND {IS_UNDELIVERED} AND discarded_at_us IS NULL
    AND {LETTER_IS_SETTLED}
"""  # noqa: S608 - contains no value
_SETTLED_AHEAD = "SELECT count(*) FROM settled WHERE destination = 'central' AND position > ?"
T = TypeVar("T")


class BacklogError(Exception):
    """The undelivered events cannot be read; the message says why and what to do."""


class BacklogExtent(NamedTuple):
    """The epochs of a database, the current one last, and its undelivered events."""

    epochs: list[EpochExtent]
    events: int
    last_position: int


class Backlog:
    """The undelivered events of the database in `directory`: pending, deferred, and to retry.

    Every method raises `BacklogError`.
    """

    def __init__(self, directory: Path, key_file: Path) -> None:
        """Take the database that is there now."""
        self._directory = directory
        self._reader = WindowReader(key_file, directory)
        self._epoch = ""
        with _explained(directory):
            (directory / DATABASE_FILE).stat()
        self._epoch = self._query(_current_epoch)

    def extent(self) -> BacklogExtent:
        """Return how far the epochs extend."""
        return self._query(_read_extent)

    def windows(self, last_position: int) -> Iterator[Window]:
        """Yield the events up to `last_position`, and few that were captured since."""
        for sql in (UNDELIVERED_APART, PENDING):
            after, is_last = 0, False
            while not is_last:
                windows = self._query(partial(self._read, sql=sql, after=after))
                for window in windows:
                    yield window
                    after = window.events[-1].position
                is_last = len(windows) < _WINDOWS_PER_READ or after >= last_position

    def _read(self, connection: sqlite3.Connection, sql: str, after: int) -> list[Window]:
        windows: list[Window] = []
        while len(windows) < _WINDOWS_PER_READ:
            window = self._reader.read(connection, sql, _LIMITS, after, _ALL_ARE_DUE)
            if not window.events:
                break
            windows.append(window)
            after = window.events[-1].position
        return windows

    def _query(self, query: Callable[[sqlite3.Connection], T]) -> T:
        # SQLite gives a file that it creates for root to the owner of the database.
        with (
            _explained(self._directory),
            inspect_database(self._directory, within_seconds=_READ_SECONDS) as connection,
        ):
            connection.execute("BEGIN")
            if self._epoch and not connection.execute(KNOWS_EPOCH, (self._epoch,)).fetchone():
                # The positions of that one are other events.
                raise BacklogError("the agent began another database meanwhile: run it again")
            return query(connection)


@contextmanager
def _explained(directory: Path) -> Iterator[None]:
    """Turn the errors of reading `directory`, or the key, into a `BacklogError`."""
    try:
        yield
    except UnusableKey as error:
        raise BacklogError(str(error)) from error
    except FileNotFoundError as error:
        if error.filename == str(directory / DATABASE_FILE):
            reason = f"there is no database in {directory}: nothing was captured here"
            raise BacklogError(reason) from error
        raise BacklogError(f"{error.filename} is missing") from error
    except (sqlite3.Error, OSError) as error:
        raise BacklogError(f"{storage_error_from(error, directory)}") from error
    except (IndexError, StorageError) as error:
        raise BacklogError(f"the database in {directory} cannot be read ({error})") from error


def _current_epoch(connection: sqlite3.Connection) -> str:
    if (revision_of(connection) or "") < NEWEST_REVISION:
        raise BacklogError(
            "the database is that of an earlier version, which the agent upgrades at its start:"
            " start it, then run the command again"
        )
    return read_epochs(connection).last.epoch


def _read_extent(connection: sqlite3.Connection) -> BacklogExtent:
    epochs, cursor = read_epochs(connection), read_cursor(connection)
    (apart,) = connection.execute(_APART, {"watermark": cursor.watermark}).fetchone()
    (ahead,) = connection.execute(_SETTLED_AHEAD, (cursor.watermark,)).fetchone()
    pending = max(epochs.last_position - cursor.watermark - ahead, 0)
    return BacklogExtent(list(_extents(epochs, cursor)), pending + apart, epochs.last_position)


def _extents(epochs: Epochs, cursor: DeliveryCursor) -> Iterator[EpochExtent]:
    ranges = epochs.ranges
    for index, known in enumerate(ranges):
        if known.last_position > cursor.watermark or len(ranges) - index <= _MOST_DELIVERED_EPOCHS:
            yield EpochExtent(
                epoch=known.epoch,
                last_sequence=known.last_sequence,
                base_sequence=known.base_sequence(cursor.purged_through),
            )
