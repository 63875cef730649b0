"""Watches how much room the store has, and keeps a reserve to give up on a full disk.

Acknowledging and purging need a little space too, so a disk that fills to the last byte
could never be emptied again: the ballast is a file of real blocks that is given up then.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from agent.store.files.storage_errors import StorageFull, free_bytes

BALLAST_FILE = "agent.ballast"


@dataclass(frozen=True, slots=True)
class Limits:
    """How much the store may take and must leave, in bytes."""

    max_bytes: int
    min_free_bytes: int
    ballast_bytes: int


class Space:
    """The room of one storage directory."""

    def __init__(self, directory: Path, limits: Limits) -> None:
        self._directory = directory
        self._limits = limits
        self._ballast = directory / BALLAST_FILE

    def require_room(self, database_bytes: int) -> None:
        """Raise `StorageFull` when a store of `database_bytes` may take no more captures."""
        if database_bytes >= self._limits.max_bytes:
            raise StorageFull(
                f"the store holds {_mib(database_bytes)}, [storage] max_bytes is "
                f"{_mib(self._limits.max_bytes)}: raise it, or let captures be delivered"
            )
        free, needed = free_bytes(self._directory), self._bytes_to_leave()
        if free < needed:
            raise StorageFull(
                f"{_mib(free)} are free on the disk of {self._directory}, {_mib(needed)} are to "
                "be left ([storage] min_free_bytes, and ballast_bytes twice while the ballast "
                "is given up): free some space on it"
            )

    def keep_ballast(self) -> None:
        """Lay the ballast down where it is missing and there is room for it twice over."""
        wanted = self._limits.ballast_bytes
        if wanted == 0 or self._has_ballast():
            return
        if free_bytes(self._directory) < self._bytes_to_leave():
            return
        descriptor = os.open(self._ballast, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            # Real blocks: a sparse file would give nothing back.
            os.posix_fallocate(descriptor, 0, wanted)
        finally:
            os.close(descriptor)

    def give_up_ballast(self) -> bool:
        """Free the ballast's space; tell whether there was any."""
        had = self._has_ballast()
        self._ballast.unlink(missing_ok=True)
        return had

    def has_room_for(self, size_bytes: int) -> bool:
        """Tell whether so much could be taken and the reserve still be left."""
        return free_bytes(self._directory) > self._bytes_to_leave() + size_bytes

    def _bytes_to_leave(self) -> int:
        """Return what captures must not touch.

        While the ballast is given up its space is there for acknowledging and purging:
        captures that ate it would leave nothing to empty the store with.
        """
        reserve = 0 if self._has_ballast() else 2 * self._limits.ballast_bytes
        return self._limits.min_free_bytes + reserve

    def _has_ballast(self) -> bool:
        try:
            return self._ballast.stat().st_size >= self._limits.ballast_bytes
        except FileNotFoundError:
            return False


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / 1024**2:,.1f} MiB"
