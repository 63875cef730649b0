"""Damaged rows that SQLite does not notice: each is set aside by itself and holds nothing up."""

import asyncio
import shutil
from pathlib import Path

import pytest

from agent.facts import IdTaken, NoOpenSession, Recorded
from agent.store.files.quarantine import list_quarantined
from agent.store.queries.reader import StoreReader
from sync.protocol.wire import EventType
from tests.support.agent.damaged_rows import (
    FIRST_WAITING,
    WAITING,
    Kind,
    Prepared,
    deliver,
    kinds,
    plant,
    prepare,
    restarted,
    waiting_intact,
)
from tests.support.agent.outbox import OutboxRig
from tests.support.agent.store import ADDRESS, AT, answer, session
from tests.support.central.scripted import ScriptedCentral

PASSES = 5


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Return the files of a stopped agent; copy them before use."""
    return asyncio.run(prepare(tmp_path_factory.mktemp("prepared")))


async def deliver_all(rig: OutboxRig, central: ScriptedCentral) -> None:
    """Run passes until one stops for nothing."""
    for _ in range(PASSES):
        if (await deliver(rig, central)).stop is None:
            return
    raise AssertionError("delivery never ends")


def every_kind() -> list[object]:
    """Return all kinds, those much like others for the campaign."""
    marks = {True: [pytest.mark.campaign], False: []}
    return [pytest.param(kind, marks=marks[kind.is_rare], id=str(kind)) for kind in kinds()]


@pytest.mark.parametrize("kind", every_kind())
async def test_damaged_row_holds_up_no_other(
    prepared: Prepared, tmp_path: Path, kind: Kind
) -> None:
    directory = Path(shutil.copytree(prepared.directory, tmp_path / "state"))
    plant(directory, kind)
    async with restarted(prepared, directory) as (rig, central):
        for capture in (session("new"), session("five"), session("four")):
            assert isinstance(await rig.writer.record(capture, AT), Recorded)
        for name in ("new", "five", "four", "three"):
            outcome = await rig.writer.record(answer(name), AT)
            assert isinstance(outcome, Recorded | NoOpenSession | IdTaken)
            if name in {"new", "five"}:
                assert isinstance(outcome, Recorded)
        await rig.outbox.retention.erase_once()
        await rig.outbox.retention.erase_digests_once()
        await rig.outbox.retention.purge_once()
        await rig.outbox.retention.repair_times()
        await deliver_all(rig, central)
        check_delivered(central, kind)
        await check_dead_letters(rig)
        reader = StoreReader(directory)
        assert reader.status().current.last_sequence > 0
        for name in ("one", "two", "four", "five", "new"):
            reader.session(name)
        assert not (await rig.window()).events
        assert list_quarantined(directory) == []
        # The next start finds everything repaired.
    async with restarted(prepared, directory) as (rig, central):
        assert isinstance(await rig.writer.record(session("later"), AT), Recorded)
        assert list_quarantined(directory) == []


def check_delivered(central: ScriptedCentral, kind: Kind) -> None:
    """All captures that waited are at head office in order, with their addresses."""
    arrived = [
        (record.correlation_id, record.type is EventType.EMAIL_ANSWERED)
        for record in central.ledger.records
    ]
    expected = waiting_intact(kind.spoilt)
    assert [one for one in arrived if one in expected] == expected
    assert ("new", False) in arrived
    assert ("new", True) in arrived
    spoilt = {WAITING[position - FIRST_WAITING] for position in kind.spoilt if position <= 11}
    for record in central.ledger.records:
        if record.type is EventType.EMAIL_ANSWERED and record.correlation_id not in {
            *spoilt,
            "one",
            "two",
        }:
            assert record.document.get("emailAddress") == ADDRESS


async def check_dead_letters(rig: OutboxRig) -> None:
    """Each dead letter is listed, can be retried and discarded."""
    letters = await rig.outbox.dead_letters.page(100)
    for letter in letters:
        receipt = letter.receipt.epoch, letter.receipt.sequence
        assert await rig.outbox.dead_letters.retry(*receipt)
        assert await rig.outbox.dead_letters.discard(*receipt)
    assert await rig.outbox.dead_letters.page(100) == []
