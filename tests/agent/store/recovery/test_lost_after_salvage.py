"""Captures of a quarantined database count as lost once it is salvaged, and then the rest only."""

from pathlib import Path

import pytest

from agent.store.db.connect import DATABASE_FILE
from agent.store.db.lost_captures import LostCaptures, after_answer, record_answers
from agent.store.files.quarantine import copy_into_quarantine
from agent.store.queries.reader import StoreReader
from agent.store.queries.status import StorageStatus
from tests.support.agent.outbox import OutboxRig, outbox_on
from tests.support.agent.salvage import four_set_aside, salvage_of, set_aside
from tests.support.agent.store import EpochIds, answer, query, session
from tests.support.log_fields import fields_of
from tests.support.patience import PATIENCE_SECONDS

YEAR_SECONDS = 365 * 24 * 3600


async def salvage_and_deliver(rig: OutboxRig) -> StorageStatus:
    """Salvage all, deliver it, and let head office answer that it has nothing of the old epoch."""
    await rig.writer.check(PATIENCE_SECONDS)
    await salvage_of(rig).run_once()
    await rig.deliver(*(await rig.window()).events)
    await salvage_of(rig).run_once()
    (lost,) = StoreReader(rig.directory).status().lost
    await rig.outbox.access.write_hot(record_answers, [after_answer(lost, 0, 0, 1)])
    return StoreReader(rig.directory).status()


def told(status: StorageStatus) -> tuple[str, int, int, str]:
    """Return the oldest epoch of the heartbeat."""
    one = status.epochs[0]
    return one.epoch, one.last_sequence, one.lost_through, one.ended_reason


async def test_nothing_is_said_to_be_lost_while_a_quarantined_file_is_not_salvaged(
    tmp_path: Path,
) -> None:
    epochs = await four_set_aside(tmp_path)
    async with outbox_on(tmp_path, epochs=epochs) as rig:
        await rig.writer.check(PATIENCE_SECONDS)
        (lost,) = StoreReader(tmp_path).status().lost
        await rig.outbox.access.write_hot(record_answers, [after_answer(lost, 0, 0, 1)])
        status = StoreReader(tmp_path).status()
    assert (lost.first, lost.lost_through, lost.is_open) == (1, 4, True)
    assert told(status) == ("epoch-1", 0, 0, "")


async def test_log_says_that_the_set_aside_file_may_have_the_captures(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    epochs = await four_set_aside(tmp_path)
    async with outbox_on(tmp_path, epochs=epochs) as rig:
        await rig.writer.check(PATIENCE_SECONDS)
    (logged,) = fields_of(caplog, "store.captures_lost")
    assert "set-aside may have" in str(logged["reason"])


async def test_salvaged_captures_are_not_lost(tmp_path: Path) -> None:
    epochs = await four_set_aside(tmp_path)
    async with outbox_on(tmp_path, epochs=epochs) as rig:
        status = await salvage_and_deliver(rig)
    assert [one.count for one in status.lost] == [0]
    epoch, last_sequence, lost_through, reason = told(status)
    assert (epoch, last_sequence, lost_through) == ("epoch-1", 0, 0)
    assert reason


async def test_what_salvage_did_not_find_is_lost(tmp_path: Path) -> None:
    gone = ("DELETE FROM event WHERE position = 4", "DELETE FROM email_answer WHERE position = 4")
    epochs = await four_set_aside(tmp_path, *gone)
    async with outbox_on(tmp_path, epochs=epochs) as rig:
        status = await salvage_and_deliver(rig)
    assert [(one.count, one.is_open) for one in status.lost] == [(1, False)]
    assert told(status)[2] == 4


async def test_salvaged_captures_are_not_lost_after_their_purge(tmp_path: Path) -> None:
    epochs = await four_set_aside(tmp_path)
    async with outbox_on(tmp_path, epochs=epochs) as rig:
        before = await salvage_and_deliver(rig)
        rig.clock.pass_seconds(YEAR_SECONDS)
        while await rig.outbox.retention.purge_once():
            pass
        # Counted again for the next file, or the next answer.
        await rig.outbox.access.write_hot(record_answers, [])
        after = StoreReader(tmp_path).status()
    assert query(tmp_path, "SELECT count(*) FROM receipt_alias") == [(0,)]
    assert [one.count for one in after.lost] == [0]
    assert after.lost == before.lost


def test_captures_that_head_office_has_are_not_lost() -> None:
    lost = LostCaptures("epoch", 10, 20, "a reason", 1)
    assert lost.is_open
    assert after_answer(lost, 15, 0, 2).count == 5
    assert after_answer(lost, 20, 0, 2).count == 0
    told_of = after_answer(after_answer(lost, 15, 0, 2), 20, 20, 3)
    assert (told_of.accepted_through, told_of.told_at_us) == (15, 3)


def test_lost_captures_stay_lost_when_another_file_is_salvaged_after_head_office_was_told() -> None:
    """The numbers accepted since include those recorded as lost."""
    lost = LostCaptures("epoch", 10, 20, "a reason", 1)
    told_of = after_answer(after_answer(lost, 15, 0, 2), 20, 20, 3)
    assert after_answer(told_of, 20, 0, 4) == told_of
    assert told_of.count == 5


async def test_ends_of_older_epochs_are_known_after_two_quarantines(tmp_path: Path) -> None:
    """Nothing was told to head office in between: each file takes its records with it."""
    epochs = EpochIds()
    async with outbox_on(tmp_path, epochs=epochs) as rig:
        await rig.capture(session("one"), answer("one"), session("two"))
        await rig.deliver(*(await rig.window(1)).events)
        await rig.outbox.renumber("epoch-1", 1)
    for _ in range(2):
        set_aside(tmp_path)
        async with outbox_on(tmp_path, epochs=epochs) as rig:
            await rig.writer.check(PATIENCE_SECONDS)
            await salvage_of(rig).run_once()
            events = (await rig.window()).events
            status = StoreReader(tmp_path).status()
            await rig.outbox.access.write_hot(
                record_answers, [after_answer(one, 0, 0, 1) for one in status.lost]
            )
            status = StoreReader(tmp_path).status()
    assert [one.correlation_id for one in events] == ["one", "one", "two"]
    named = {one.epoch: (one.last_sequence, bool(one.ended_reason)) for one in status.epochs}
    assert named == {f"epoch-{n}": (0, True) for n in (1, 2, 3)} | {"epoch-4": (3, False)}
    assert [one.count for one in status.lost] == [0, 0, 0]


async def test_file_of_another_till_names_no_epoch(tmp_path: Path) -> None:
    other, own = tmp_path / "other", tmp_path / "own"
    epochs = EpochIds()
    async with outbox_on(other, epochs=epochs) as rig:
        await rig.capture(session("one"), answer("one"))
        await rig.outbox.renumber("epoch-1", 1)
    async with outbox_on(own, epochs=epochs) as rig:
        await rig.writer.check(PATIENCE_SECONDS)
        copy_into_quarantine(other / DATABASE_FILE, own, 0)
        await salvage_of(rig).run_once()
        status = StoreReader(own).status()
    assert status.salvage.salvaged == 2
    assert [one.epoch for one in status.epochs] == ["epoch-3"]
