"""The backlog is all that is undelivered, of every epoch, under the numbers that are delivered."""

from pathlib import Path

import pytest

from agent.export import backlog as module
from agent.export.backlog import Backlog, BacklogError
from agent.store.files.quarantine import copy_into_quarantine
from sync.delivery.outbox import BatchLimits, EventResult, OutboxEvent
from sync.delivery.outcomes import Deferred
from sync.protocol.wire import EpochExtent
from tests.support.agent.outbox import outbox_on
from tests.support.agent.store import KEY_FILE, EpochIds, answer, change, opened, record, session

Numbers = list[tuple[str, int]]


def backlog_of(directory: Path) -> Backlog:
    """Return the backlog of the database in `directory`."""
    return Backlog(directory, directory / KEY_FILE)


def exported(directory: Path) -> Numbers:
    """Return epoch and number of each event to export, in order."""
    backlog = backlog_of(directory)
    extent = backlog.extent()
    numbers = [
        (window.epoch, event.sequence)
        for window in backlog.windows(extent.last_position)
        for event in window.events
    ]
    assert len(numbers) == extent.events
    return numbers


async def test_pending_events_are_exported_and_delivered_ones_are_not(tmp_path: Path) -> None:
    async with outbox_on(tmp_path) as rig:
        await rig.capture(session("one"), answer("one"), session("two"), session("three"))
        events = (await rig.window()).events
        await rig.deliver(events[0], events[2])

        assert exported(tmp_path) == [("epoch-1", 2), ("epoch-1", 4)]


async def test_dead_letters_are_exported_only_if_they_are_to_be_retried(tmp_path: Path) -> None:
    async with outbox_on(tmp_path) as rig:
        await rig.capture(session("one"), session("two"), session("three"))
        events = (await rig.window()).events
        await rig.refuse(events[0], events[1])
        assert exported(tmp_path) == [("epoch-1", 3)]
        await rig.outbox.dead_letters.retry("epoch-1", 2)

        assert exported(tmp_path) == [("epoch-1", 2), ("epoch-1", 3)]


async def test_deferred_events_are_exported_with_those_that_wait_behind_them(
    tmp_path: Path,
) -> None:
    """A line that does not come back brings no verdict for which they could wait."""
    failed = Deferred("NO_VERDICT", "answered 500", 500)
    waits = Deferred("SESSION_WAITS", "an earlier event waits", is_waiting=True)
    async with outbox_on(tmp_path) as rig:
        await rig.capture(session("one"), answer("one"), session("two"))
        window = await rig.window()
        first, second, _ = window.events
        results = [EventResult(first, failed), EventResult(second, waits)]
        await rig.outbox.settle(window, results)

        assert exported(tmp_path) == [("epoch-1", 1), ("epoch-1", 2), ("epoch-1", 3)]


async def test_all_epochs_are_exported_in_their_order(tmp_path: Path) -> None:
    epochs = EpochIds()
    with opened(tmp_path, epochs) as store:
        record(store, session("one"), session("two"))
    (tmp_path / "agent.mark").unlink()
    with opened(tmp_path, epochs) as store:
        record(store, session("three"))

    assert exported(tmp_path) == [("epoch-1", 1), ("epoch-1", 2), ("epoch-2", 1)]
    assert backlog_of(tmp_path).extent().epochs == [
        EpochExtent(epoch="epoch-1", last_sequence=2),
        EpochExtent(epoch="epoch-2", last_sequence=1),
    ]


def test_windows_end_with_their_epoch_and_say_so(tmp_path: Path) -> None:
    epochs = EpochIds()
    with opened(tmp_path, epochs) as store:
        record(store, session("one"))
    (tmp_path / "agent.mark").unlink()
    with opened(tmp_path, epochs) as store:
        record(store, session("two"))

    windows = list(backlog_of(tmp_path).windows(2))

    assert [(one.epoch, one.ended_at) for one in windows] == [("epoch-1", 1), ("epoch-2", None)]


def test_damaged_event_is_exported_by_its_number_alone(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        record(store, session("one"), session("two"))
    change(tmp_path, "UPDATE event SET checksum = 7 WHERE position = 1")

    damaged, sound = _events(tmp_path)

    assert damaged.damage is not None
    assert (damaged.sequence, damaged.body) == (1, b"{}")
    assert sound.damage is None


@pytest.mark.parametrize("windows", [1, 2, 8])
def test_backlog_of_many_windows_is_read_once_and_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, windows: int
) -> None:
    monkeypatch.setattr(module, "_LIMITS", BatchLimits(events=3, max_bytes=2**20))
    monkeypatch.setattr(module, "_WINDOWS_PER_READ", windows)
    with opened(tmp_path) as store:
        record(store, *(session(f"number-{number}") for number in range(20)))

    assert exported(tmp_path) == [("epoch-1", number) for number in range(1, 21)]


def test_export_ends_although_tills_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LIMITS", BatchLimits(events=1, max_bytes=2**20))
    monkeypatch.setattr(module, "_WINDOWS_PER_READ", 1)
    with opened(tmp_path) as store:
        record(store, session("one"), session("two"))
        backlog = backlog_of(tmp_path)
        taken = []
        for window in backlog.windows(backlog.extent().last_position):
            taken += [event.sequence for event in window.events]
            record(store, session(f"after-{len(taken)}"))

    assert taken == [1, 2]


def test_database_that_is_replaced_meanwhile_ends_the_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Positions of the new file are other captures."""
    monkeypatch.setattr(module, "_LIMITS", BatchLimits(events=1, max_bytes=2**20))
    monkeypatch.setattr(module, "_WINDOWS_PER_READ", 1)
    epochs = EpochIds()
    with opened(tmp_path, epochs) as store:
        record(store, session("one"), session("two"))
    windows = backlog_of(tmp_path).windows(2)
    next(windows)
    copy_into_quarantine(tmp_path / "agent.db", tmp_path, 1)
    (tmp_path / "agent.db").unlink()
    with opened(tmp_path, epochs) as store:
        record(store, session("three"))

    with pytest.raises(BacklogError, match="began another database"):
        next(windows)


def test_database_of_an_earlier_version_is_called_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An agent that was upgraded and not yet started: disk and permissions are fine."""
    with opened(tmp_path) as store:
        record(store, session("one"))
    monkeypatch.setattr(module, "NEWEST_REVISION", "9999")

    with pytest.raises(BacklogError, match="start it, then run the command again"):
        backlog_of(tmp_path)


def _events(directory: Path) -> list[OutboxEvent]:
    windows = backlog_of(directory).windows(2)
    return [event for window in windows for event in window.events]
