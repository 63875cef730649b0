"""Access to the store from the event loop, when the program is to stop."""

import asyncio
import sqlite3
import threading
import time
from pathlib import Path

import pytest

from tests.support.agent.outbox import outbox_on
from tests.support.agent.store import session

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
GIVEN_UP_AFTER_SECONDS = 20.0


async def test_long_read_ends_when_it_is_cancelled(tmp_path: Path) -> None:
    """A check of a large file took the minute after SIGTERM in which it read the rest."""
    loop, runs, ended = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
    outcomes: list[str] = []

    def endless(connection: sqlite3.Connection) -> None:
        given_up_at = time.monotonic() + GIVEN_UP_AFTER_SECONDS

        def is_given_up() -> bool:
            loop.call_soon_threadsafe(runs.set)
            if late := time.monotonic() > given_up_at:
                outcomes.append("given up")
            return late

        connection.set_progress_handler(is_given_up, 100_000)
        try:
            connection.execute(ENDLESS).fetchone()
        except sqlite3.OperationalError as error:
            outcomes.append(str(error))
            raise
        finally:
            ended.set()

    async with outbox_on(tmp_path) as rig:
        await rig.capture(session("one"))
        reading = asyncio.create_task(rig.outbox.access.read_hot(endless))
        await runs.wait()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await asyncio.to_thread(ended.wait)

    assert outcomes == ["interrupted"]
