"""Acknowledging moves one number, however many events it is about."""

from pathlib import Path

from agent.store.store import Store
from tests.agent.store.outbox_rig import OutboxRig, judged, outbox_on
from tests.agent.store.parts import change, opened, query, record, session

EVENTS, WINDOW = 100_000, 500
# The boot's number and all else is as in the one event that was captured.
MANY = f"""
WITH RECURSIVE number(n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM number WHERE n < {EVENTS})
INSERT INTO event SELECT n, type, n, occurred_at_us, monotonic_us, boot_number, body
FROM number, event WHERE position = 1
"""  # noqa: S608 - a number of this test
THEIR_SESSIONS = """
INSERT INTO session SELECT position, 's' || position, NULL, 0 FROM event WHERE position > 1
"""


def make_backlog(directory: Path) -> None:
    """Have this many sessions wait, written past the agent: capturing them takes too long."""
    with opened(directory) as store:
        record(store, session("s1"))
    change(directory, MANY, THEIR_SESSIONS)


async def rows_changed(rig: OutboxRig) -> int:
    """Return how many rows the writer has inserted, changed or deleted since it opened the file."""

    def count(store: Store) -> int:
        return store.connection.total_changes

    return await rig.writer.run(count)


async def test_a_backlog_is_acknowledged_by_a_few_rows_a_window_and_leaves_none_an_event(
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
