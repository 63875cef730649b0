"""High-water mark: the number of the last commit, kept outside the database.

SQLite silently loses commits when its WAL is damaged, and so does a database restored from a
backup. New captures would then reuse numbers that head office already has for other events. The
mark detects this: it is written after each commit and synced every few seconds.
"""

import os
import zlib
from pathlib import Path

from agent.facts import Receipt
from agent.store.files.file_identity import is_at
from agent.store.files.storage_errors import NO_DESCRIPTOR
from sync.runtime.files.atomic_file import atomic_file
from sync.runtime.files.private_files import open_private, read_private

MARK_FILE = "agent.mark"
_MARK_BYTES = 80


def read_high_water_mark(directory: Path) -> Receipt | None:
    """Return the last commit recorded in `directory`, or None if it is missing or invalid.

    Raises `OSError` only if the process has no free descriptor: then the mark may well be there.
    """
    try:
        line = read_private(directory / MARK_FILE, _MARK_BYTES)
        epoch, sequence, checksum = line.decode("ascii").split()
        if int(checksum, 16) != _checksum(epoch, int(sequence)):
            return None
        return Receipt(epoch, int(sequence))
    except OSError as error:
        if error.errno in NO_DESCRIPTOR:
            raise
        return None
    except ValueError:
        return None


def write_high_water_mark(directory: Path, last_commit: Receipt) -> None:
    """Write a mark whole, or not at all: for a quarantined database. Raises `OSError`."""
    with atomic_file(directory / MARK_FILE) as file:
        file.write(_line(last_commit))


class HighWaterMark:
    """Writes the mark file of a directory; open from construction to `close`."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / MARK_FILE
        self._descriptor = open_private(self._path, os.O_RDWR | os.O_CREAT)

    def write(self, last_commit: Receipt) -> None:
        """Write the mark to the page cache only: it survives the process, not a power cut."""
        os.pwrite(self._descriptor, _line(last_commit), 0)

    def sync(self) -> None:
        """Sync the mark to disk."""
        os.fdatasync(self._descriptor)

    def renew_if_missing(self) -> bool:
        """Create the file again if it was removed or replaced; return whether it was."""
        if is_at(self._path, self._descriptor):
            return False
        lost = self._descriptor
        self._descriptor = open_private(self._path, os.O_RDWR | os.O_CREAT)
        os.close(lost)
        return True

    def close(self) -> None:
        """Sync and close."""
        try:
            self.sync()
        finally:
            os.close(self._descriptor)


def _line(last_commit: Receipt) -> bytes:
    epoch, sequence = last_commit.epoch, last_commit.sequence
    line = f"{epoch} {sequence} {_checksum(epoch, sequence):08x}"
    return line.ljust(_MARK_BYTES - 1).encode() + b"\n"


def _checksum(epoch: str, sequence: int) -> int:
    return zlib.crc32(f"{epoch} {sequence}".encode())
