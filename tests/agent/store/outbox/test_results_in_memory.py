"""Nothing can be written: with `batch`, delivery goes on, and its results stay in memory."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.store.files.storage_errors import (
    StorageDamagedError,
    StorageDownError,
    StorageError,
    StorageFullError,
)
from agent.store.outbox.unsaved_results import UnsavedResults
from agent.store.store import Store
from sync.delivery.outbox import EventResult, OutboxUnavailable, Window
from tests.support.agent.outbox import DELIVERED, PLENTY, REFUSED, OutboxRig, judged, outbox_on
from tests.support.agent.store import query, session

WATERMARK = "SELECT watermark FROM destination"


@dataclass
class Disk:
    """While `error` is set, no job of the store can write."""

    error: StorageError | None = None
    failed: int = 0


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """Return a disk on which every write can be made to fail."""
    disk = Disk()
    usual, usual_session = Store.run, Store.run_in_session

    def failing(call: Callable[..., object]) -> Callable[..., object]:
        def run(store: Store, *arguments: object) -> object:
            if disk.error is not None:
                disk.failed += 1
                raise disk.error
            return call(store, *arguments)

        return run

    monkeypatch.setattr(Store, "run", failing(usual))
    monkeypatch.setattr(Store, "run_in_session", failing(usual_session))
    return disk


@pytest.fixture
async def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[OutboxRig]:
    """Run an outbox with nine sessions."""
    monkeypatch.setattr("agent.store.outbox.outbox._SAVE_AGAIN_SECONDS", 0.0)
    async with outbox_on(tmp_path) as rig:
        await rig.capture(*[session(f"s{n}") for n in range(9)])
        yield rig


async def settled(rig: OutboxRig, events: int, *, refusing: frozenset[int] = frozenset()) -> Window:
    """Settle the next window; refuse the events at these positions."""
    window = await rig.window(events)
    results = [
        EventResult(event, REFUSED) if event.position in refusing else one
        for event, one in zip(window.events, judged(window.events), strict=True)
    ]
    await rig.outbox.settle(window, results)
    return window


async def replace_database(rig: OutboxRig) -> None:
    """Quarantine the database."""

    def find_damage(_store: Store) -> None:
        raise StorageDamagedError("a page is damaged")

    with pytest.raises(StorageDamagedError):
        await rig.writer.run(find_damage)


@pytest.mark.parametrize("error", [StorageFullError("full"), StorageDownError("read-only")])
async def test_windows_follow_each_other_while_nothing_can_be_written(
    rig: OutboxRig, disk: Disk, error: StorageError
) -> None:
    disk.error = error
    windows = [await settled(rig, 4) for _ in range(3)]
    sent = [event.position for window in windows for event in window.events]
    assert sent == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert (await rig.window()).events == ()


async def test_results_are_saved_once_the_disk_takes_them(rig: OutboxRig, disk: Disk) -> None:
    disk.error = StorageFullError("full")
    await settled(rig, 4, refusing=frozenset({2}))
    await settled(rig, 4)
    assert query(rig.directory, WATERMARK) == []
    disk.error = None
    await rig.outbox.save_results()
    assert query(rig.directory, WATERMARK) == [(8,)]
    assert query(rig.directory, "SELECT position, attempts FROM dead_letter") == [(2, 1)]
    assert await rig.positions() == [9]


async def test_full_disk_is_not_tried_with_every_window(
    rig: OutboxRig, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.store.outbox.outbox._SAVE_AGAIN_SECONDS", 3600.0)
    disk.error = StorageFullError("full")
    await settled(rig, 1)
    await settled(rig, 1)
    failed = disk.failed
    for _ in range(5):
        await settled(rig, 1)
    assert disk.failed == failed


async def test_results_are_saved_with_those_of_the_next_window(rig: OutboxRig, disk: Disk) -> None:
    disk.error = StorageFullError("full")
    await settled(rig, 4)
    disk.error = None
    await settled(rig, 2)
    assert query(rig.directory, WATERMARK) == [(6,)]


async def test_window_ends_before_events_whose_results_are_in_memory(
    rig: OutboxRig, disk: Disk
) -> None:
    window = await rig.window()
    disk.error = StorageFullError("full")
    await rig.outbox.settle(window, judged(window.events[3:5]))
    assert await rig.positions() == [1, 2, 3]
    after = await rig.outbox.next_window(PLENTY, after=3)
    assert [event.position for event in after.events] == [6, 7, 8, 9]


async def test_rewind_sends_them_again(rig: OutboxRig, disk: Disk) -> None:
    """Head office was restored from a backup before the disk took its confirmation."""
    disk.error = StorageFullError("full")
    window = await settled(rig, 9)
    assert await rig.outbox.rewind(window.epoch, 1)
    assert len(await rig.positions()) == 9


async def test_results_of_a_replaced_database_are_dropped(rig: OutboxRig, disk: Disk) -> None:
    disk.error = StorageFullError("full")
    await settled(rig, 9)
    disk.error = None
    await replace_database(rig)
    await rig.capture(session("new"))
    await rig.outbox.save_results()
    assert await rig.positions() == [1]


async def test_with_recorded_attempts_a_result_is_not_kept_in_memory(
    rig: OutboxRig, disk: Disk
) -> None:
    """After a crash a repeat may have an effect: the mark of the attempt must stay true."""
    window = await rig.window()
    await rig.outbox.record_attempt(window)
    disk.error = StorageFullError("full")
    with pytest.raises(OutboxUnavailable):
        await rig.outbox.settle(window, judged(window.events))


def test_number_of_ranges_in_memory_is_bounded() -> None:
    kept = UnsavedResults()
    assert all(kept.add(f"epoch-{n % 2}", {2 * n: REFUSED}) for n in range(1, 10_001))
    assert not kept.add("epoch-1", {30_000: REFUSED})
    assert kept.add("epoch-1", {4: REFUSED})


def test_delivered_in_order_is_one_range() -> None:
    kept = UnsavedResults()
    for first in (1, 5, 3):
        assert kept.add("epoch-1", dict.fromkeys(range(first, first + 2), DELIVERED))
    assert kept.end_of_range(1) == 6
    assert kept.end_of_range(7) is None
