"""Disk space limits, and a reserve that is freed when the disk is full.

Settling and purging need a little space too, so a completely full disk could never be emptied. The
ballast is a file of allocated blocks that is deleted in that case.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from agent.store.files.storage_errors import StorageFullError, free_bytes
from sync.runtime.files.private_files import open_private

BALLAST_FILE = "agent.ballast"
# With so much free space inside the database file, captures take next to none of the disk.
REUSABLE_BYTES = 1024 * 1024
# SQLite needs so much for a commit.
_FEW_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class SpaceLimits:
    """How many bytes the store may take and how many it must leave free."""

    max_bytes: int
    min_free_bytes: int
    ballast_bytes: int


class DiskSpace:
    """Disk space of one storage directory."""

    def __init__(self, directory: Path, limits: SpaceLimits) -> None:
        self._directory = directory
        self._limits = limits
        self._ballast = directory / BALLAST_FILE

    def require_room(self, database_bytes: int, reusable_bytes: int = 0) -> None:
        """Raise `StorageFullError` if a store of `database_bytes` may take no more captures.

        `reusable_bytes`: free space inside the database file, not part of `database_bytes`.
        """
        if database_bytes >= self._limits.max_bytes:
            raise StorageFullError(
                f"the database has {_mib(database_bytes)}, [storage] max_bytes is "
                f"{_mib(self._limits.max_bytes)}: raise it, or restore delivery"
            )
        is_short = free_bytes(self._directory) < self._bytes_to_leave()
        if is_short and reusable_bytes < REUSABLE_BYTES:
            raise self.full_error()

    def full_error(self) -> StorageFullError:
        """Return the error of a full disk: free and needed bytes, and which file system."""
        free, needed = free_bytes(self._directory), max(self._bytes_to_leave(), _FEW_BYTES)
        return StorageFullError(
            f"{_mib(free)} free on the file system {mount_point(self._directory)} of "
            f"{self._directory}, {_mib(needed)} must stay free ([storage] min_free_bytes, plus "
            "twice ballast_bytes while the ballast is deleted): free some space"
        )

    def create_ballast(self) -> None:
        """Create the ballast file if it is missing and twice its size is free."""
        wanted = self._limits.ballast_bytes
        if wanted == 0 or self._has_ballast():
            return
        if free_bytes(self._directory) < self._bytes_to_leave():
            return
        descriptor = open_private(self._ballast, os.O_WRONLY | os.O_CREAT)
        try:
            # Allocated blocks: deleting a sparse file would free nothing.
            os.posix_fallocate(descriptor, 0, wanted)
        finally:
            os.close(descriptor)

    def free_ballast(self) -> bool:
        """Delete the ballast file; return whether there was one."""
        had = self._has_ballast()
        self._ballast.unlink(missing_ok=True)
        return had

    def has_room_for(self, size_bytes: int) -> bool:
        """Return whether the reserve stays free after writing `size_bytes`."""
        return free_bytes(self._directory) > self._bytes_to_leave() + size_bytes

    def _bytes_to_leave(self) -> int:
        """Return the free space that captures must not use.

        While the ballast is deleted, its space is reserved for settling and purging; captures that
        used it up would leave no way to empty the store.
        """
        reserve = 0 if self._has_ballast() else 2 * self._limits.ballast_bytes
        return self._limits.min_free_bytes + reserve

    def _has_ballast(self) -> bool:
        try:
            return self._ballast.lstat().st_size >= self._limits.ballast_bytes
        except FileNotFoundError:
            return False


def mount_point(directory: Path) -> Path:
    """Return where the file system of `directory` is mounted."""
    place = Path(os.path.realpath(directory))
    return next((each for each in (place, *place.parents) if os.path.ismount(each)), place)


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / 1024**2:,.1f} MiB"
