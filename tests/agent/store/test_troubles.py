"""Storage errors are classified by their remedy."""

import errno
import sqlite3
from pathlib import Path

import pytest

from agent.store.files import storage_errors as troubles
from agent.store.files.storage_errors import (
    SenselessRow,
    StorageDamaged,
    StorageDown,
    StorageFull,
    StorageTrouble,
    trouble_of,
)

PLENTY = 2**40


def sqlite_error(code: int) -> sqlite3.Error:
    """Return a SQLite error with this code."""
    error = sqlite3.OperationalError("as SQLite says it")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (sqlite_error(sqlite3.SQLITE_CORRUPT), StorageDamaged),
        (sqlite_error(sqlite3.SQLITE_CORRUPT_INDEX), StorageDamaged),
        (sqlite_error(sqlite3.SQLITE_NOTADB), StorageDamaged),
        (SenselessRow("null"), StorageDamaged),
        (sqlite_error(sqlite3.SQLITE_FULL), StorageFull),
        (sqlite_error(sqlite3.SQLITE_IOERR_FSYNC), StorageDown),
        (sqlite_error(sqlite3.SQLITE_CANTOPEN), StorageDown),
        (sqlite_error(sqlite3.SQLITE_READONLY), StorageDown),
        (sqlite_error(sqlite3.SQLITE_BUSY), StorageDown),
        (sqlite3.OperationalError("without a code"), StorageDown),
        (OSError(errno.ENOSPC, "No space left on device"), StorageFull),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), StorageFull),
        (OSError(errno.EROFS, "Read-only file system"), StorageDown),
        (PermissionError(errno.EACCES, "Permission denied"), StorageDown),
    ],
)
def test_error_is_classified_by_its_remedy(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: sqlite3.Error | OSError,
    expected: type[StorageTrouble],
) -> None:
    monkeypatch.setattr(troubles, "free_bytes", lambda _directory: PLENTY)
    trouble = trouble_of(error, tmp_path)
    assert type(trouble) is expected
    assert str(tmp_path) in str(trouble)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (sqlite3.SQLITE_CANTOPEN, StorageFull),
        (sqlite3.SQLITE_IOERR_WRITE, StorageFull),
        (sqlite3.SQLITE_CORRUPT, StorageDamaged),
    ],
)
def test_any_error_on_a_full_disk_is_a_full_disk_except_damage(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    expected: type[StorageTrouble],
) -> None:
    """SQLite cannot open a file that it has no room to create."""
    monkeypatch.setattr(troubles, "free_bytes", lambda _directory: 4096)
    assert type(trouble_of(sqlite_error(code), tmp_path)) is expected


def test_missing_directory_means_storage_down(tmp_path: Path) -> None:
    error = sqlite_error(sqlite3.SQLITE_CANTOPEN)
    assert type(trouble_of(error, tmp_path / "gone")) is StorageDown
