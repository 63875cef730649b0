"""The daily purge: stopping ends it quietly, and failures are logged."""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

import pytest
from sqlalchemy import Connection

from sync.receiver.db.sqlite import SqliteFile
from sync.receiver.retention import purge as retention
from sync.receiver.retention.purge import purging_daily
from sync.runtime.retention_clock import CLOCK_FILE, RetentionClock
from tests.support.head_office.messages import AT

T = TypeVar("T")


class StubDatabase(SqliteFile):
    """A database whose reads fail with `error`, or block if it is None."""

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error
        self.reading = asyncio.Event()
        self.ended = asyncio.Event()

    async def read(self, work: Callable[[Connection], T]) -> T:
        self.reading.set()
        try:
            if self._error is not None:
                raise self._error
            never: asyncio.Future[T] = asyncio.get_running_loop().create_future()
            return await never
        finally:
            self.ended.set()


async def test_stopping_waits_for_a_purge_in_progress_and_logs_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    database = StubDatabase()
    with caplog.at_level(logging.WARNING):
        async with purging_daily(35, database, lambda: AT):
            await database.reading.wait()

    assert database.ended.is_set()
    assert caplog.messages == []


async def test_failed_purge_is_logged_with_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    database = StubDatabase(OSError("disk failure"))
    async with purging_daily(35, database, lambda: AT + timedelta(days=1)):
        await database.ended.wait()

    assert [record.message for record in caplog.records] == ["hq.purge_failed"]


async def test_retention_of_zero_days_purges_nothing() -> None:
    database = StubDatabase()
    async with purging_daily(0, database, lambda: AT):
        await asyncio.sleep(0)

    assert not database.reading.is_set()


async def test_purge_goes_by_the_time_that_has_passed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Head office's clock is set ten years ahead: nothing that it keeps is older for that."""
    clocks = [round(AT.timestamp()) * 1_000_000, 0]
    clock = RetentionClock(tmp_path / CLOCK_FILE, "boot", lambda: (clocks[0], clocks[1]))
    await clock()
    clocks[0] += 3650 * 86_400_000_000
    befores: list[datetime] = []
    purged = asyncio.Event()

    async def note(_database: object, received_before: datetime, _at: datetime) -> int:
        befores.append(received_before)
        purged.set()
        return 0

    monkeypatch.setattr(retention, "purge", note)
    async with purging_daily(35, StubDatabase(), lambda: AT + timedelta(days=3650), clock):
        await purged.wait()

    assert befores == [AT - timedelta(days=35)]
