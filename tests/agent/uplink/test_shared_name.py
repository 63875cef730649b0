"""Told that another machine uses its name, an agent begins one epoch of its own in each boot."""

import logging
from pathlib import Path

import pytest

from agent.store.files.shared_name_note import SHARED_NAME_FILE
from agent.store.outbox.rewind import MAX_EPOCHS_A_DAY
from agent.store.queries.reader import StoreReader
from agent.uplink.shared_name import SharedName
from tests.support.agent.outbox import OutboxRig, outbox_on
from tests.support.agent.store import session


def name_of(rig: OutboxRig, boot_id: str = "boot-1") -> SharedName:
    """Return the part of an agent that was just started in this boot."""
    return SharedName(rig.outbox.access, rig.directory, boot_id, rig.clock)


async def test_new_captures_go_to_an_epoch_of_its_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with outbox_on(tmp_path) as rig:
        before = await rig.capture(session("one"))
        name = name_of(rig)
        await name.on_answer(is_shared=True)
        await name.on_answer(is_shared=True)
        after = await rig.capture(session("two"))
        status = StoreReader(tmp_path).status()

    assert (before, after) == (["epoch-1/1"], ["epoch-2/1"])
    assert name.since_us == rig.clock.now_us
    assert caplog.messages == ["name.shared"]
    # The other machine may have gone on in it: where it ends is not for this one to say.
    assert [(one.last_sequence, one.ended_reason) for one in status.epochs[:-1]] == [(1, "")]


async def test_events_of_the_shared_epoch_keep_their_numbers_and_are_delivered(
    tmp_path: Path,
) -> None:
    async with outbox_on(tmp_path) as rig:
        await rig.capture(session("one"), session("two"))
        await name_of(rig).on_answer(is_shared=True)
        window = await rig.window()

    assert (window.epoch, [event.sequence for event in window.events]) == ("epoch-1", [1, 2])


async def test_restart_in_the_same_boot_begins_no_other_epoch(tmp_path: Path) -> None:
    async with outbox_on(tmp_path) as rig:
        await rig.capture(session("one"))
        first = name_of(rig)
        await first.on_answer(is_shared=True)
        rig.clock.pass_seconds(60)
        again = name_of(rig)
        await again.on_answer(is_shared=True)

        assert await rig.capture(session("two")) == ["epoch-2/1"]
        assert again.since_us == first.since_us


async def test_copy_of_a_machine_that_was_told_begins_an_epoch_as_well(tmp_path: Path) -> None:
    async with outbox_on(tmp_path) as rig:
        await rig.capture(session("one"))
        await name_of(rig).on_answer(is_shared=True)
        await name_of(rig, "boot-2").on_answer(is_shared=True)

        assert await rig.capture(session("two")) == ["epoch-3/1"]


async def test_it_ends_with_the_word_of_head_office(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with outbox_on(tmp_path) as rig:
        await rig.capture(session("one"))
        name = name_of(rig)
        await name.on_answer(is_shared=True)
        await name.on_answer(is_shared=False)

    assert name.since_us is None
    assert not (tmp_path / SHARED_NAME_FILE).exists()
    assert caplog.messages[-2:] == ["name.shared", "name.no_longer_shared"]


async def test_head_office_that_says_so_again_and_again_causes_a_bounded_number_of_epochs(
    tmp_path: Path,
) -> None:
    async with outbox_on(tmp_path) as rig:
        await rig.capture(session("one"))
        name = name_of(rig)
        for _ in range(2 * MAX_EPOCHS_A_DAY):
            await name.on_answer(is_shared=True)
            await name.on_answer(is_shared=False)

        assert len(StoreReader(tmp_path).status().epochs) == 1 + MAX_EPOCHS_A_DAY
