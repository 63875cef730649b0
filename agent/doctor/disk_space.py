"""Checks of free disk space and of the database size limit."""

from dataclasses import dataclass
from pathlib import Path

from agent.config.settings import StorageSettings
from agent.doctor.check import Check, fault, passed, warning
from agent.doctor.storage_directory import nearest_existing
from agent.store.db.connect import database_bytes
from agent.store.files.disk_space import DiskSpace, SpaceLimits
from agent.store.files.storage_errors import free_bytes

_DISK, _LIMIT = "free disk", "database size"
_MIB = 1024**2
# Enough for some 100,000 captures: the operator has days to act on the warning.
_AMPLE_BYTES = 128 * _MIB
_NEARLY_FULL = 0.8


@dataclass(frozen=True, slots=True)
class SpaceFacts:
    """Sizes; `has_room`: captures are accepted; `has_ample_room`: also after 128 MiB more."""

    free_bytes: int
    min_free_bytes: int
    database_bytes: int
    max_bytes: int
    has_room: bool
    has_ample_room: bool


def measure_space(storage: StorageSettings) -> SpaceFacts:
    """Measure the disk of the storage directory and the database. Raises `OSError`."""
    place = nearest_existing(storage.directory)
    limits = SpaceLimits(storage.max_bytes, storage.min_free_bytes, storage.ballast_bytes)
    space = DiskSpace(place, limits)
    return SpaceFacts(
        free_bytes=free_bytes(place),
        min_free_bytes=storage.min_free_bytes,
        database_bytes=_database_bytes(storage.directory),
        max_bytes=storage.max_bytes,
        has_room=space.has_room_for(0),
        has_ample_room=space.has_room_for(_AMPLE_BYTES),
    )


def check_free_disk(facts: SpaceFacts) -> Check:
    """Judge the free space beyond the reserve for the POS."""
    found = f"{_mib(facts.free_bytes)} free, {_mib(facts.min_free_bytes)} reserved"
    if not facts.has_room:
        advice = "free some space: captures are rejected until then (the ballast counts twice)"
        return fault(_DISK, found, advice)
    if not facts.has_ample_room:
        advice = (
            f"free some space: captures are rejected before another {_mib(_AMPLE_BYTES)} are used"
        )
        return warning(_DISK, found, advice)
    return passed(_DISK, found)


def check_database_size(facts: SpaceFacts) -> Check:
    """Judge the database size against its limit."""
    found = f"{_mib(facts.database_bytes)} of {_mib(facts.max_bytes)}"
    advice = "check delivery, or raise [storage] max_bytes"
    if facts.database_bytes >= facts.max_bytes:
        return fault(_LIMIT, f"{found}: captures are rejected", advice)
    if facts.database_bytes > _NEARLY_FULL * facts.max_bytes:
        return warning(_LIMIT, found, advice)
    return passed(_LIMIT, found)


def _database_bytes(directory: Path) -> int:
    try:
        return database_bytes(directory)
    except PermissionError:
        # Reported by the check of the directory.
        return 0


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / _MIB:,.1f} MiB"
