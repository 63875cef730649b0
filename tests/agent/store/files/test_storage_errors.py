"""Storage errors are classified by their remedy."""

import errno
import sqlite3
from pathlib import Path

import pytest

from agent.store.files import storage_errors
from agent.store.files.storage_errors import (
    CorruptRow,
    DamagedRowError,
    StorageDamagedError,
    StorageDownError,
    StorageError,
    StorageFullError,
    StorageLockedError,
    TooManyOpenFilesError,
    storage_error_from,
)
from tests.support.faults.descriptors import every_descriptor_taken

PLENTY = 2**40


def sqlite_error(code: int) -> sqlite3.Error:
    """Return a SQLite error with this code."""
    error = sqlite3.OperationalError("as SQLite says it")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (sqlite_error(sqlite3.SQLITE_CORRUPT), StorageDamagedError),
        (sqlite_error(sqlite3.SQLITE_CORRUPT_INDEX), StorageDamagedError),
        (sqlite_error(sqlite3.SQLITE_NOTADB), StorageDamagedError),
        (CorruptRow("null"), DamagedRowError),
        (sqlite_error(sqlite3.SQLITE_FULL), StorageFullError),
        (sqlite_error(sqlite3.SQLITE_IOERR_FSYNC), StorageDownError),
        (sqlite_error(sqlite3.SQLITE_CANTOPEN), StorageDownError),
        (sqlite_error(sqlite3.SQLITE_READONLY), StorageDownError),
        (sqlite_error(sqlite3.SQLITE_BUSY), StorageLockedError),
        (sqlite3.OperationalError("without a code"), StorageDownError),
        (OSError(errno.ENOSPC, "No space left on device"), StorageFullError),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), StorageFullError),
        (OSError(errno.EROFS, "Read-only file system"), StorageDownError),
        (PermissionError(errno.EACCES, "Permission denied"), StorageDownError),
    ],
)
def test_error_is_classified_by_its_remedy(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: sqlite3.Error | OSError,
    expected: type[StorageError],
) -> None:
    monkeypatch.setattr(storage_errors, "free_bytes", lambda _directory: PLENTY)
    classified = storage_error_from(error, tmp_path)
    assert type(classified) is expected
    assert str(tmp_path) in str(classified)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (sqlite3.SQLITE_CANTOPEN, StorageFullError),
        (sqlite3.SQLITE_IOERR_WRITE, StorageFullError),
        (sqlite3.SQLITE_CORRUPT, StorageDamagedError),
    ],
)
def test_any_error_on_a_full_disk_is_a_full_disk_except_damage(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    expected: type[StorageError],
) -> None:
    """SQLite cannot open a file that it has no room to create."""
    monkeypatch.setattr(storage_errors, "free_bytes", lambda _directory: 4096)
    assert type(storage_error_from(sqlite_error(code), tmp_path)) is expected


def test_missing_directory_means_storage_down(tmp_path: Path) -> None:
    error = sqlite_error(sqlite3.SQLITE_CANTOPEN)
    assert type(storage_error_from(error, tmp_path / "gone")) is StorageDownError


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EMFILE, "Too many open files"),
        OSError(errno.ENFILE, "Too many open files in system"),
        sqlite_error(sqlite3.SQLITE_CANTOPEN),
    ],
)
def test_process_out_of_descriptors_is_no_fault_of_the_disk(
    tmp_path: Path, error: sqlite3.Error | OSError
) -> None:
    with every_descriptor_taken():
        classified = storage_error_from(error, tmp_path)

    assert type(classified) is TooManyOpenFilesError
    assert "disk" not in str(classified)


def test_file_that_cannot_be_opened_with_descriptors_left_is_a_storage_error(
    tmp_path: Path,
) -> None:
    classified = storage_error_from(sqlite_error(sqlite3.SQLITE_CANTOPEN), tmp_path)

    assert type(classified) is StorageDownError


def test_full_disk_says_how_much_is_free_and_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage_errors, "free_bytes", lambda _: 12 * 1024)

    found = storage_error_from(sqlite_error(sqlite3.SQLITE_FULL), tmp_path)

    assert "12 KiB are free, at least 256 KiB must be" in str(found)
