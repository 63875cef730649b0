"""Copies of the ledger made before a migration: they hold addresses that `forget` cannot reach."""

import os
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from sync.receiver.retention.old_copies import COPY_DAYS, delete_old_copies, deleting_old_copies
from tests.support.head_office.messages import AT
from tests.support.shop.shop import until_there

FILE = "hq.db"


def copy_in(directory: Path, name: str, age_days: float) -> Path:
    """Create a copy that is so old at the time `AT`."""
    made_at = (AT - timedelta(days=age_days)).timestamp()
    (directory / name).write_bytes(b"guest@example.com")
    os.utime(directory / name, (made_at, made_at))
    return directory / name


def test_copy_goes_two_weeks_after_the_upgrade(tmp_path: Path) -> None:
    old = copy_in(tmp_path, f"{FILE}.before-0004", COPY_DAYS)
    young = copy_in(tmp_path, f"{FILE}.before-0005", COPY_DAYS - 0.01)
    mine = copy_in(tmp_path, f"{FILE}.before-the-audit", 400)

    delete_old_copies(tmp_path / FILE, AT)

    assert (old.exists(), young.exists(), mine.exists()) == (False, True, True)


def test_copy_that_cannot_be_deleted_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    copy = copy_in(tmp_path, f"{FILE}.before-0004", 400)

    def refuse(_: Path, *, missing_ok: bool) -> None:
        assert missing_ok
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    delete_old_copies(tmp_path / FILE, AT)

    assert copy.exists()
    assert [record.message for record in caplog.records] == ["hq.copy_kept"]


async def at() -> datetime:
    return AT


async def test_running_head_office_deletes_old_copies_at_its_start(tmp_path: Path) -> None:
    copy = copy_in(tmp_path, f"{FILE}.before-0004", 400)
    async with deleting_old_copies(tmp_path / FILE, at):
        await until_there(lambda: [] if copy.exists() else [()], 1)
