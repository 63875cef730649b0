"""Epochs of files set aside are named to head office, whoever set them aside, and how many."""

import resource
from pathlib import Path

import pytest

from agent.store.db.lost_captures import after_answer, record_answers
from agent.store.files.high_water_mark import MARK_FILE
from agent.store.files.quarantine import QUARANTINE, list_quarantined, unreadable_in
from agent.store.queries.reader import StoreReader
from agent.uplink.loss_reports import extent_of
from sync.protocol.wire import EpochExtent
from tests.support.agent.outbox import OutboxRig, outbox_on
from tests.support.agent.salvage import four_set_aside, salvage_of, set_aside
from tests.support.agent.store import EpochIds, answer, session
from tests.support.patience import PATIENCE_SECONDS

LAST_ANSWER = (
    "DELETE FROM event WHERE position = 4",
    "DELETE FROM email_answer WHERE position = 4",
)


async def told(rig: OutboxRig) -> dict[str, EpochExtent]:
    """Salvage and deliver all; return the words of the next heartbeat, by epoch."""
    await salvage_of(rig).run_once()
    await rig.deliver_all()
    await salvage_of(rig).run_once()
    reader = StoreReader(rig.directory)
    lost = [after_answer(one, 0, 0, 1) for one in reader.status().lost]
    await rig.outbox.access.write_hot(record_answers, lost)
    return {one.epoch: extent_of(one, None) for one in reader.status().epochs[:-1]}


async def forget_losses(rig: OutboxRig) -> None:
    """Leave the database as a version before has written it."""
    await rig.writer.check(PATIENCE_SECONDS)
    await rig.outbox.access.write_hot(lambda one: one.execute("DELETE FROM lost_captures"))


async def test_older_epochs_are_named_when_two_files_are_set_aside_before_one_is_read(
    tmp_path: Path,
) -> None:
    epochs = EpochIds()
    async with outbox_on(tmp_path, epochs=epochs) as rig:
        await rig.capture(session("one"), answer("one"), session("two"))
        await rig.deliver(*(await rig.window(1)).events)
        await rig.outbox.renumber("epoch-1", 1)
    set_aside(tmp_path)
    async with outbox_on(tmp_path, epochs=epochs) as rig:
        await rig.writer.check(PATIENCE_SECONDS)
        await rig.capture(session("three"))
    set_aside(tmp_path)
    async with outbox_on(tmp_path, epochs=epochs) as rig:
        await rig.writer.check(PATIENCE_SECONDS)
        named = await told(rig)
    assert named.keys() == {"epoch-1", "epoch-2", "epoch-3"}
    assert not any(one.end_unknown for one in named.values())


async def test_epoch_of_a_file_that_an_earlier_version_set_aside_is_named_by_its_mark(
    tmp_path: Path,
) -> None:
    epochs = await four_set_aside(tmp_path, *LAST_ANSWER)
    async with outbox_on(tmp_path, epochs=epochs) as rig:
        await forget_losses(rig)
        named = await told(rig)
    one = named["epoch-1"]
    assert (one.end_unknown, one.moved_through, one.lost_through) == (False, 3, 4)
    assert "an earlier version" in one.ended_reason


async def test_epoch_of_a_salvaged_file_that_an_earlier_version_kept_is_named(
    tmp_path: Path,
) -> None:
    epochs = await four_set_aside(tmp_path, *LAST_ANSWER)
    async with outbox_on(tmp_path, epochs=epochs) as rig:
        await rig.writer.check(PATIENCE_SECONDS)
        await told(rig)
        await forget_losses(rig)
        named = await told(rig)
    assert [unreadable_in(tmp_path, name) for name in list_quarantined(tmp_path)] == [1]
    assert (named["epoch-1"].moved_through, named["epoch-1"].lost_through) == (3, 4)


@pytest.mark.parametrize("is_whole", [True, False])
async def test_without_a_mark_the_end_is_what_the_file_knows_and_certain_if_it_is_whole(
    tmp_path: Path,
    is_whole: bool,  # noqa: FBT001 - a case
) -> None:
    holes = () if is_whole else ("DELETE FROM event WHERE position = 2",)
    epochs = await four_set_aside(tmp_path, *holes)
    (name,) = list_quarantined(tmp_path)
    (tmp_path / QUARANTINE / name / MARK_FILE).unlink()
    async with outbox_on(tmp_path, epochs=epochs) as rig:
        await forget_losses(rig)
        named = await told(rig)
    one = named["epoch-1"]
    assert bool(one.ended_reason)
    assert one.end_unknown is not is_whole
    assert (one.moved_through, one.lost_through) == ((4, 0) if is_whole else (1, 4))


async def test_file_that_was_set_aside_at_another_time_names_no_epoch(tmp_path: Path) -> None:
    """It was given by hand, perhaps from another till."""
    epochs = await four_set_aside(tmp_path)
    (name,) = list_quarantined(tmp_path)
    place = tmp_path / QUARANTINE / name
    place.rename(place.with_name("20010101T000000Z"))
    async with outbox_on(tmp_path, epochs=epochs) as rig:
        await forget_losses(rig)
        assert await told(rig) == {}


async def test_file_is_kept_if_a_full_disk_took_no_mark_and_its_end_is_unreadable(
    tmp_path: Path,
) -> None:
    """An empty mark beside it said nothing, and the file looked whole: it was deleted."""
    epochs = await four_set_aside(tmp_path, *LAST_ANSWER)
    (name,) = list_quarantined(tmp_path)
    (tmp_path / QUARANTINE / name / MARK_FILE).write_bytes(b"")
    async with outbox_on(tmp_path, epochs=epochs) as rig:
        await rig.writer.check(PATIENCE_SECONDS)
        await told(rig)
    assert unreadable_in(tmp_path, name) == 1


async def test_full_disk_leaves_no_part_of_a_mark_beside_the_file(tmp_path: Path) -> None:
    async with outbox_on(tmp_path) as rig:
        await rig.capture(session("one"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        place = set_aside(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert MARK_FILE not in [one.name for one in place.iterdir()]
