"""Checks of free disk space and of the database size limit."""

from collections.abc import Iterator
from contextlib import suppress

from agent.config.settings import StorageSettings
from agent.doctor.storage_directory import nearest_existing
from agent.store.db.connect import DATABASE_FILE, database_bytes, reusable_bytes_in
from agent.store.files.disk_space import DiskSpace, SpaceLimits
from agent.store.files.storage_errors import free_bytes
from sync.runtime.checks.check import Check, Verdict, fault, passed, warning
from sync.runtime.settings.setting_errors import SettingError

_DISK, _LIMIT = "free disk", "database size"
_MIB = 1024**2
# Enough for some 100,000 captures: the operator has days to act on the warning.
_AMPLE_BYTES = 128 * _MIB
_NEARLY_FULL = 0.8


def check_space(storage: StorageSettings) -> list[Check]:
    """Check the disk of the storage directory and the size of the database."""
    try:
        return [check_free_disk(storage), check_database_size(storage)]
    except OSError as error:
        found = f"it cannot be measured ({error.strerror})"
        return [fault(_DISK, found, "fix the storage directory first")]


def find_space_errors(storage: StorageSettings) -> Iterator[SettingError]:
    """Yield the settings with which an agent would start, but reject every capture."""
    settings = {_DISK: "storage.min_free_bytes", _LIMIT: "storage.max_bytes"}
    with suppress(OSError):  # the check of the directory says why
        for check in (check_free_disk(storage), check_database_size(storage)):
            if check.verdict is Verdict.FAULT:
                message = f"{check.found}; {check.advice}"
                yield SettingError(str(storage.directory), settings[check.name], message)


def check_free_disk(storage: StorageSettings) -> Check:
    """Judge the free space beyond the reserve for the POS. Raises `OSError`."""
    place = nearest_existing(storage.directory)
    limits = SpaceLimits(storage.max_bytes, storage.min_free_bytes, storage.ballast_bytes)
    space = DiskSpace(place, limits)
    found = f"{_mib(free_bytes(place))} free, {_mib(storage.min_free_bytes)} reserved"
    if not space.has_room_for(0):
        advice = (
            "free some space, or lower [storage] min_free_bytes: captures are rejected until then"
            " (the ballast counts twice)"
        )
        return fault(_DISK, found, advice)
    if not space.has_room_for(_AMPLE_BYTES):
        ample = _mib(_AMPLE_BYTES)
        advice = f"free some space: captures are rejected before another {ample} are used"
        return warning(_DISK, found, advice)
    return passed(_DISK, found)


def check_database_size(storage: StorageSettings) -> Check:
    """Judge the database size, without free pages, against its limit. Raises `OSError`."""
    try:
        free_pages = reusable_bytes_in(storage.directory / DATABASE_FILE)
        size_bytes = database_bytes(storage.directory) - free_pages
    except PermissionError:
        size_bytes = 0  # reported by the check of the directory
    found = f"{_mib(size_bytes)} of {_mib(storage.max_bytes)}"
    advice = "check delivery, or raise [storage] max_bytes"
    if size_bytes >= storage.max_bytes:
        return fault(_LIMIT, f"{found}: captures are rejected", advice)
    if size_bytes > _NEARLY_FULL * storage.max_bytes:
        return warning(_LIMIT, found, advice)
    return passed(_LIMIT, found)


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / _MIB:,.1f} MiB"
