"""Checks of copies beside the database, and of purges ahead of retention."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from agent.doctor.store.kept_data import check_copies, check_retention
from agent.store.retention.delivery_times import RetentionWindow
from sync.runtime.checks.check import Check, Verdict
from tests.support.agent.store import change, opened

NOW = datetime(2026, 1, 31, tzinfo=UTC)
KEPT = RetentionWindow(30.0, round(NOW.timestamp() * 1e6))
COPY = "agent.db.before-0003"


def copy_in(directory: Path, made_at: datetime) -> None:
    (directory / COPY).write_bytes(b"")
    os.utime(directory / COPY, (made_at.timestamp(), made_at.timestamp()))


def retention_after_purge(directory: Path, purged_at: datetime, limit: str) -> Check | None:
    """Check the retention of 30 days after an early purge of events kept for 36 hours."""
    with opened(directory):
        pass
    at_us, kept_us = round(purged_at.timestamp() * 1e6), 36 * 3600 * 1_000_000
    change(
        directory,
        "INSERT INTO destination (name, watermark, purged_early_at_us, purged_early_kept_us,"  # noqa: S608 - the test's own values
        f" purged_early_reason) VALUES ('central', 0, {at_us}, {kept_us}, '{limit}')",
    )
    return check_retention(directory, KEPT)


def test_copies_are_named_with_their_age(tmp_path: Path) -> None:
    assert check_copies(tmp_path, NOW) is None
    copy_in(tmp_path, NOW - timedelta(days=1, hours=3))
    check = check_copies(tmp_path, NOW)
    assert check is not None
    assert check.verdict is Verdict.PASS
    assert check.found == f"made before an upgrade: {COPY} (1 day old)"


def test_copy_that_does_not_go_is_a_warning(tmp_path: Path) -> None:
    copy_in(tmp_path, NOW - timedelta(days=40))
    check = check_copies(tmp_path, NOW)
    assert check is not None
    assert check.verdict is Verdict.WARNING
    assert "with addresses" in check.found
    assert f"{COPY} (40 days old)" in check.found


def test_purge_ahead_of_retention_is_a_warning_with_its_limit(tmp_path: Path) -> None:
    check = retention_after_purge(tmp_path, NOW - timedelta(days=29), "max_bytes")
    assert check is not None
    assert check.verdict is Verdict.WARNING
    assert check.found == (
        "delivered captures are kept 1.5 days instead of 30: [storage] max_bytes is reached"
    )
    assert check.advice == "raise [storage] max_bytes"


def test_purge_of_a_time_whose_captures_would_be_gone_by_now_is_no_finding(tmp_path: Path) -> None:
    assert retention_after_purge(tmp_path, NOW - timedelta(days=31), "max_bytes") is None


def test_missing_database_is_no_finding(tmp_path: Path) -> None:
    assert check_retention(tmp_path, KEPT) is None
