"""Purge: old delivered events are deleted a few at a time; the rest stays."""

from pathlib import Path

from agent.facts import EmailStatus
from agent.store.queries.reader import StoreReader
from agent.store.retention.purge import MAX_EVENTS
from agent.store.retention.retention import RetentionDays
from tests.support.agent.outbox import OutboxRig, outbox_on
from tests.support.agent.store import EpochIds, answer, query, session
from tests.support.clocks import WallClock

DAY_SECONDS = 24 * 3600
TABLES = ("event", "session", "email_answer", "delivery", "dead_letter", "settled", "doubt")
EVENTS = "SELECT position FROM event ORDER BY position"


async def purge_all(rig: OutboxRig) -> int:
    """Purge everything due; return the number of steps."""
    steps = 1
    while await rig.outbox.retention.purge_once():
        steps += 1
    return steps


def held(directory: Path) -> list[object]:
    """Return the held positions."""
    return [row[0] for row in query(directory, EVENTS)]


def rows(directory: Path) -> dict[str, object]:
    """Return the row counts of the tables that are not empty."""
    counts = {name: query(directory, f"SELECT count(*) FROM {name}")[0][0] for name in TABLES}  # noqa: S608 - names of this test
    return {name: count for name, count in counts.items() if count}


async def test_purge_deletes_only_events_delivered_long_ago(tmp_path: Path) -> None:
    async with outbox_on(tmp_path) as rig:
        await rig.capture(session("old"), answer("old"))
        await rig.deliver_all()
        rig.clock.pass_seconds(29 * DAY_SECONDS)
        await rig.capture(session("young"))
        await rig.deliver_all()
        await rig.capture(session("waiting"))
        await purge_all(rig)
        assert held(tmp_path) == [1, 2, 3, 4]
        rig.clock.pass_seconds(DAY_SECONDS)
        await purge_all(rig)
        assert held(tmp_path) == [3, 4]
        rig.clock.pass_seconds(365 * DAY_SECONDS)
        await purge_all(rig)
        assert held(tmp_path) == [4]


async def test_purge_leaves_no_rows_behind(tmp_path: Path) -> None:
    async with outbox_on(tmp_path) as rig:
        await rig.capture(session("one"), answer("one"), session("two"))
        await rig.deliver(*(await rig.window()).events[1:])
        await rig.deliver_all()
        rig.clock.pass_seconds(31 * DAY_SECONDS)
        await purge_all(rig)
        assert rows(tmp_path) == {}
        assert StoreReader(tmp_path).session("one") == []


async def test_purge_step_deletes_a_limited_number_of_events(tmp_path: Path) -> None:
    async with outbox_on(tmp_path) as rig:
        await rig.capture(*(session(f"s{n}") for n in range(2 * MAX_EVENTS + 1)))
        await rig.deliver_all()
        rig.clock.pass_seconds(31 * DAY_SECONDS)
        assert await rig.outbox.retention.purge_once()
        assert len(held(tmp_path)) == MAX_EVENTS + 1
        await purge_all(rig)
        assert held(tmp_path) == []


async def test_purge_keeps_a_session_as_long_as_its_answers(tmp_path: Path) -> None:
    async with outbox_on(tmp_path) as rig:
        await rig.capture(session("one"), session("two"))
        await rig.deliver_all()
        rig.clock.pass_seconds(20 * DAY_SECONDS)
        await rig.capture(answer("one", status=EmailStatus.DEFERRED))
        await rig.deliver_all()
        rig.clock.pass_seconds(20 * DAY_SECONDS)
        await purge_all(rig)
        assert held(tmp_path) == [1, 3]
        assert len(StoreReader(tmp_path).session("one")) == 2
        rig.clock.pass_seconds(20 * DAY_SECONDS)
        await purge_all(rig)
        assert rows(tmp_path) == {}


async def test_purge_keeps_a_dead_letter_until_its_retention_after_discarding(
    tmp_path: Path,
) -> None:
    async with outbox_on(tmp_path) as rig:
        await rig.capture(session("one"), answer("one"), session("two"))
        await rig.refuse((await rig.window()).events[1])
        await rig.deliver_all()
        rig.clock.pass_seconds(31 * DAY_SECONDS)
        await purge_all(rig)
        assert held(tmp_path) == [1, 2]
        await rig.outbox.dead_letters.retry("epoch-1", 2)
        await rig.outbox.dead_letters.discard("epoch-1", 2)
        rig.clock.pass_seconds(29 * DAY_SECONDS)
        await purge_all(rig)
        assert held(tmp_path) == [1, 2]
        rig.clock.pass_seconds(DAY_SECONDS)
        await purge_all(rig)
        assert rows(tmp_path) == {}


async def test_purge_counts_the_retention_of_a_late_delivery_from_its_own_time(
    tmp_path: Path,
) -> None:
    async with outbox_on(tmp_path) as rig:
        await rig.capture(session("one"), answer("one"), session("two"))
        letter = (await rig.window()).events[1]
        await rig.refuse(letter)
        await rig.deliver_all()
        rig.clock.pass_seconds(20 * DAY_SECONDS)
        await rig.deliver(letter)
        rig.clock.pass_seconds(29 * DAY_SECONDS)
        await purge_all(rig)
        assert held(tmp_path) == [1, 2]
        rig.clock.pass_seconds(DAY_SECONDS)
        await purge_all(rig)
        await purge_all(rig)
        assert rows(tmp_path) == {}


async def test_purged_numbers_are_not_reused(tmp_path: Path) -> None:
    epochs, clock = EpochIds(), WallClock()
    async with outbox_on(tmp_path, epochs=epochs, clock=clock) as rig:
        await rig.capture(session("one"), session("two"))
        await rig.deliver_all()
        clock.pass_seconds(31 * DAY_SECONDS)
        await purge_all(rig)
    async with outbox_on(tmp_path, epochs=epochs, clock=clock) as rig:
        assert await rig.capture(session("three"), session("one")) == ["epoch-1/3", "epoch-1/4"]


async def test_purged_session_is_not_answered_from_the_cache(tmp_path: Path) -> None:
    async with outbox_on(tmp_path) as rig:
        await rig.capture(session("one"))
        await rig.deliver_all()
        rig.clock.pass_seconds(31 * DAY_SECONDS)
        await purge_all(rig)
        assert await rig.capture(session("one")) == ["epoch-1/2"]


async def test_window_has_the_lowest_number_from_which_all_are_held(tmp_path: Path) -> None:
    async with outbox_on(tmp_path) as rig:
        await rig.capture(session("one"), session("two"), session("three"), session("four"))
        await rig.refuse((await rig.window()).events[0])
        await rig.deliver(*(await rig.window(events=1)).events)
        rig.clock.pass_seconds(31 * DAY_SECONDS)
        await purge_all(rig)
        assert held(tmp_path) == [1, 3, 4]
        assert (await rig.window()).base_sequence == 3


async def test_status_has_the_base_sequence_of_each_epoch(tmp_path: Path) -> None:
    async with outbox_on(tmp_path) as rig:
        await rig.capture(session("one"), session("two"))
        await rig.outbox.renumber("epoch-1", 2)
        await rig.capture(session("three"), session("four"))
        await rig.deliver(*(await rig.window(events=2)).events)
        await rig.deliver(*(await rig.window(events=1)).events)
        rig.clock.pass_seconds(31 * DAY_SECONDS)
        await purge_all(rig)
        status = StoreReader(tmp_path).status()
        assert [(one.last_sequence, one.base_sequence) for one in status.epochs] == [(2, 3), (2, 2)]


async def test_rewind_stops_at_the_lowest_number_from_which_all_are_held(
    tmp_path: Path,
) -> None:
    async with outbox_on(tmp_path) as rig:
        await rig.capture(session("one"), session("two"))
        await rig.deliver_all()
        rig.clock.pass_seconds(31 * DAY_SECONDS)
        await purge_all(rig)
        assert not await rig.outbox.rewind("epoch-1", 1)
        await rig.capture(session("three"), session("four"))
        await rig.deliver_all()
        assert await rig.outbox.rewind("epoch-1", 1)
        assert await rig.positions() == [3, 4]


async def test_purge_keeps_events_delivered_while_the_clock_was_wrong(tmp_path: Path) -> None:
    """A machine without a clock battery delivers in 1970 until it gets the time."""
    async with outbox_on(tmp_path) as rig:
        await rig.capture(session("one"))
        await rig.deliver_all()
        right, rig.clock.now_us = rig.clock.now_us, 60_000_000
        await rig.capture(session("two"))
        await rig.deliver_all()
        await purge_all(rig)
        rig.clock.now_us = right
        await purge_all(rig)
        assert held(tmp_path) == [1, 2]


async def test_space_of_purged_events_is_reused(tmp_path: Path) -> None:
    kept = RetentionDays(delivered_days=1, email_days=0)
    sizes = []
    async with outbox_on(tmp_path, retention=kept) as rig:
        for day in range(4):
            await rig.capture(*(session(f"{day}/{n}") for n in range(300)))
            await rig.deliver_all()
            rig.clock.pass_seconds(2 * DAY_SECONDS)
            await purge_all(rig)
            await rig.writer.run(lambda store: store.checkpoint())
            sizes.append((tmp_path / "agent.db").stat().st_size)
    assert sizes[3] == sizes[1]


async def test_dead_letter_older_than_all_that_is_kept_costs_no_number(tmp_path: Path) -> None:
    """The last acknowledgement that is kept is the one of the dead letter: no witness of the last.

    The next opening called the purged captures lost, and began an epoch.
    """
    async with outbox_on(tmp_path) as rig:
        await rig.capture(session("refused"))
        await rig.refuse(*(await rig.window()).events)
        rig.clock.pass_seconds(1)
        await rig.capture(session("delivered"))
        await rig.deliver_all()
        rig.clock.pass_seconds(31 * DAY_SECONDS)
        await purge_all(rig)
        assert held(tmp_path) == [1]

    async with outbox_on(tmp_path) as rig:
        receipts = await rig.capture(session("next"))

    assert receipts == ["epoch-1/3"]
    assert query(tmp_path, "SELECT * FROM lost_captures") == []
    assert query(tmp_path, "SELECT * FROM damaged_row") == []
