"""Settling writes a few rows for each window, however many events it holds."""

from pathlib import Path

import pytest

from agent.store.store import Store
from tests.support.agent.outbox import OutboxRig, judged, outbox_on
from tests.support.agent.store import change, opened, query, record, session

pytestmark = pytest.mark.slow

EVENTS, WINDOW = 100_000, 500
# Boot number and all other columns are those of the one captured event.
MANY = f"""
WITH RECURSIVE number(n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM number WHERE n < {EVENTS})
INSERT INTO event SELECT n, type, n, occurred_at_us, monotonic_us, boot_number, body, NULL
FROM number, event WHERE position = 1
"""  # noqa: S608 - a number of this test
THEIR_SESSIONS = """
INSERT INTO session SELECT position, 's' || position, NULL, 0 FROM event WHERE position > 1
"""


def make_backlog(directory: Path) -> None:
    """Insert the pending sessions directly: capturing them takes too long."""
    with opened(directory) as store:
        record(store, session("s1"))
    change(directory, MANY, THEIR_SESSIONS)


async def rows_changed(rig: OutboxRig) -> int:
    """Return the number of rows that the writer has changed since it opened the file."""

    def count(store: Store) -> int:
        return store.connection.total_changes

    return await rig.writer.run(count)


async def test_settling_a_backlog_writes_a_few_rows_for_each_window(
    tmp_path: Path,
) -> None:
    make_backlog(tmp_path)
    async with outbox_on(tmp_path) as rig:
        before, windows = await rows_changed(rig), 0
        while (window := await rig.window(events=WINDOW)).events:
            await rig.outbox.settle(window, judged(window.events))
            windows += 1
        changed = await rows_changed(rig) - before

    assert windows == EVENTS // WINDOW
    assert changed <= 3 * windows
    assert query(tmp_path, "SELECT watermark FROM destination") == [(EVENTS,)]
    beside = "SELECT count(*) FROM settled UNION ALL SELECT count(*) FROM doubt"
    assert query(tmp_path, beside) == [(0,), (0,)]
