"""A loss is told, never withdrawn in silence, and an alarm until head office accepts it."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent.store.db.connect import DATABASE_FILE
from agent.store.db.lost_captures import LostCaptures
from agent.store.db.returned_numbers import Numbers, add_returned_range
from agent.store.files.quarantine import copy_into_quarantine
from agent.store.queries.reader import StoreReader
from agent.uplink.loss_reports import LossReports
from sync.delivery.outbox import OutboxUnavailable
from sync.protocol.wire import AcceptedThrough, EpochExtent, EpochSequence, HeartbeatAnswer
from tests.support.agent.outbox import OutboxRig, outbox_on
from tests.support.agent.salvage import salvage_of
from tests.support.agent.store import EpochIds, answer, session
from tests.support.log_fields import fields_of
from tests.support.patience import PATIENCE_SECONDS

LOST = "epoch-1"


@asynccontextmanager
async def rig_that_lost_four(directory: Path) -> AsyncIterator[OutboxRig]:
    """Run an outbox after a database with four captures was removed."""
    epochs = EpochIds()
    async with outbox_on(directory, epochs=epochs) as rig:
        await rig.capture(session("one"), answer("one"), session("two"), answer("two"))
    (directory / DATABASE_FILE).rename(directory / "found-later.db")
    (directory / f"{DATABASE_FILE}-wal").unlink(missing_ok=True)
    async with outbox_on(directory, epochs=epochs) as rig:
        await rig.writer.check(PATIENCE_SECONDS)
        yield rig


def answered(accepted: int, acknowledged: int = 0) -> HeartbeatAnswer:
    """Return head office's answer on the lost epoch."""
    named = [EpochSequence(epoch=LOST, sequence=acknowledged)] if acknowledged else []
    epochs = [AcceptedThrough(epoch=LOST, accepted_through=accepted)]
    return HeartbeatAnswer(epochs=epochs, acknowledged=named)


class Heartbeats:
    """Sends reports of a rig, and passes on the answers that arrive."""

    def __init__(self, rig: OutboxRig) -> None:
        self.rig = rig
        self.reports = LossReports(rig.outbox.access, lambda: 7)

    @property
    def lost(self) -> LostCaptures:
        (lost,) = StoreReader(self.rig.directory).status().lost
        return lost

    async def send(self) -> EpochExtent:
        """Send a heartbeat; its answer is lost."""
        status = StoreReader(self.rig.directory).status()
        older = status.epochs[:-1]
        pages = await self.rig.outbox.access.read_hot(self.reports.read_pages, older)
        (sent,) = await self.reports.extents(older, status.lost, pages)
        return sent

    async def exchange(self, answer: HeartbeatAnswer) -> bool:
        """Send a heartbeat; return True if the answer asks for another one at once."""
        sent, status = await self.send(), StoreReader(self.rig.directory).status()
        return await self.reports.on_answer(answer, [sent], status.lost)


async def test_head_office_is_asked_before_it_is_told(tmp_path: Path) -> None:
    async with rig_that_lost_four(tmp_path) as rig:
        heartbeats = Heartbeats(rig)
        first = await heartbeats.send()
        asks_again = await heartbeats.exchange(answered(1))
        second = await heartbeats.send()
    assert (first.lost_through, first.end_unknown) == (0, True)
    assert (asks_again, second.lost_through, second.end_unknown) == (True, 4, False)


async def test_loss_that_was_named_stays_when_the_answer_is_lost_and_a_file_is_found(
    tmp_path: Path,
) -> None:
    """Head office has recorded 2 to 4 as lost: its number counts them."""
    async with rig_that_lost_four(tmp_path) as rig:
        heartbeats = Heartbeats(rig)
        await heartbeats.exchange(answered(1))
        await heartbeats.send()
        copy_into_quarantine(tmp_path / "found-later.db", tmp_path, 0)
        again = await heartbeats.send()
        await heartbeats.exchange(answered(4))
        lost = heartbeats.lost
    assert (again.lost_through, again.end_unknown) == (4, False)
    assert (lost.first, lost.count, lost.told_at_us) == (2, 3, 7)


async def test_loss_that_was_named_is_withdrawn_by_what_came_back(tmp_path: Path) -> None:
    async with rig_that_lost_four(tmp_path) as rig:
        heartbeats = Heartbeats(rig)
        await heartbeats.exchange(answered(1))
        await heartbeats.exchange(answered(4))
        copy_into_quarantine(tmp_path / "found-later.db", tmp_path, 0)
        await salvage_of(rig).run_once()
        told = await heartbeats.send()
        lost = heartbeats.lost
    assert (told.returned, told.returned_after, told.returned_through) == ([(1, 4)], 0, 4)
    assert lost.count == 0


async def test_loss_is_not_named_while_that_cannot_be_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise OutboxUnavailable("the disk is full")

    async with rig_that_lost_four(tmp_path) as rig:
        heartbeats = Heartbeats(rig)
        await heartbeats.exchange(answered(1))
        monkeypatch.setattr(rig.outbox.access, "write_hot", fail)
        told = await heartbeats.send()
    assert (told.lost_through, told.end_unknown, told.returned_through) == (0, True, 0)


async def test_alarm_ends_when_head_office_has_accepted_the_loss(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with rig_that_lost_four(tmp_path) as rig:
        heartbeats = Heartbeats(rig)
        await heartbeats.exchange(answered(1))
        await heartbeats.exchange(answered(4))
        before = heartbeats.lost
        with caplog.at_level(logging.INFO):
            await heartbeats.exchange(answered(4, acknowledged=4))
            await heartbeats.exchange(answered(4))
        after = heartbeats.lost
    assert (before.is_alarm, after.is_alarm, after.count) == (True, False, 3)
    (logged,) = fields_of(caplog, "store.loss_acknowledged")
    assert (logged["first"], logged["last"]) == (2, 4)


async def test_acknowledgement_of_a_smaller_loss_ends_no_alarm(tmp_path: Path) -> None:
    async with rig_that_lost_four(tmp_path) as rig:
        heartbeats = Heartbeats(rig)
        await heartbeats.exchange(answered(1))
        await heartbeats.exchange(answered(4, acknowledged=3))
        assert heartbeats.lost.is_alarm


async def test_pages_follow_head_office_and_take_turns_once_it_has_heard_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.uplink.loss_reports.MAX_RANGES_OF_AN_EPOCH", 1)

    async with rig_that_lost_four(tmp_path) as rig:
        for number in (1, 3):
            numbers = Numbers(number, number)
            await rig.outbox.access.write_hot(add_returned_range, LOST, numbers)
        heartbeats, pages = Heartbeats(rig), []
        for accepted in (0, 1, 3, 4, 4, 4):
            sent = await heartbeats.send()
            await heartbeats.exchange(answered(accepted))
            pages.append((sent.returned, sent.returned_after, sent.returned_through))
    assert pages == [
        ([(1, 1)], 0, 1),  # head office has nothing of it yet
        ([(1, 1)], 0, 1),
        ([(3, 3)], 1, 4),
        ([], 3, 4),  # only 4 is left, which is lost
        ([(1, 1)], 0, 1),  # in turns
        ([(3, 3)], 1, 4),
    ]
