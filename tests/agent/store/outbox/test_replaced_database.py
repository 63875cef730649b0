"""A database quarantined while a window is in flight: the new one has other events."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.store.files.storage_errors import StorageDamagedError
from agent.store.store import Store
from sync.delivery.outbox import OutboxUnavailable, Window
from tests.support.agent.outbox import OutboxRig, judged, outbox_on
from tests.support.agent.store import query, session


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[OutboxRig]:
    """Run an outbox with three sessions."""
    async with outbox_on(tmp_path) as rig:
        await rig.capture(session("one"), session("two"), session("three"))
        yield rig


async def replaced(rig: OutboxRig) -> Window:
    """Return a window of the old database, now quarantined."""
    window = await rig.window()

    def find_damage(_store: Store) -> None:
        raise StorageDamagedError("a page is damaged")

    with pytest.raises(StorageDamagedError):
        await rig.writer.run(find_damage)
    return window


async def test_window_of_the_old_database_settles_nothing_in_the_new_one(
    rig: OutboxRig,
) -> None:
    window = await replaced(rig)
    await rig.capture(session("four"))
    with pytest.raises(OutboxUnavailable):
        await rig.outbox.settle(window, judged(window.events), window.events)
    assert await rig.capture(session("five")) == ["epoch-2/2"]
    assert await rig.positions() == [1, 2]


async def test_window_of_the_old_database_puts_nothing_in_doubt_in_the_new_one(
    rig: OutboxRig,
) -> None:
    window = await replaced(rig)
    await rig.capture(session("four"))
    with pytest.raises(OutboxUnavailable):
        await rig.outbox.record_attempt(window)
    assert not any(event.is_doubtful for event in (await rig.window()).events)
    assert query(rig.directory, "SELECT * FROM doubt") == []


async def test_window_of_a_shortened_epoch_is_still_settled(
    rig: OutboxRig,
) -> None:
    """Positions belong to the file and do not change with the numbers at head office."""
    window = await rig.window()
    await rig.outbox.renumber(window.epoch, 0)
    await rig.outbox.settle(window, judged(window.events))
    assert await rig.positions() == []
