"""Of random holes in up to three files: arrived and lost captures are all that tills were told."""

import asyncio
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from unittest.mock import patch

from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent.store.db.connect import DATABASE_FILE
from agent.store.files.quarantine import quarantine
from agent.store.queries.reader import StoreReader
from agent.uplink import loss_reports
from agent.uplink.loss_reports import LossReports
from sync.protocol.wire import AcceptedThrough, EpochExtent, HeartbeatAnswer
from sync.receiver.ingest.epochs.extents import older_extent
from sync.receiver.ingest.epochs.returned import MOVED, resolve
from sync.receiver.ingest.gaps import Gap
from tests.support.agent.outbox import OutboxRig, outbox_on
from tests.support.agent.salvage import salvage_of
from tests.support.agent.store import AT, EpochIds, answer, change, session
from tests.support.head_office.messages import AT as NOW
from tests.support.patience import PATIENCE_SECONDS


@dataclass(frozen=True, slots=True)
class Day:
    """One database: what tills captured, what was delivered, and the events that it lost then."""

    answered: list[bool]
    delivered: int
    holes: set[int]
    is_salvaged: bool
    is_heard: bool


DAYS = st.builds(
    Day,
    answered=st.lists(st.booleans(), max_size=7),
    delivered=st.integers(0, 8),
    holes=st.sets(st.integers(1, 24), max_size=8),
    is_salvaged=st.booleans(),
    is_heard=st.booleans(),
)


@dataclass
class HeadOffice:
    """Applies the rules of the receiver to epochs in memory."""

    arrived: set[str] = field(default_factory=set)
    rows: dict[str, dict[str, object]] = field(default_factory=dict)
    gaps: defaultdict[str, list[Gap]] = field(default_factory=lambda: defaultdict(list))

    def row(self, epoch: str) -> dict[str, object]:
        """Return the row of an epoch; a new one has begun now."""
        new: dict[str, object] = {"last_sequence": 0, "accepted_through": 0, "ended_through": None}
        new |= {"ended_reason": None, "heartbeat_at": None, "begun_at": NOW, "followed_at": NOW}
        return self.rows.setdefault(epoch, new)

    def hear(self, extents: list[EpochExtent]) -> HeartbeatAnswer:
        """Answer a heartbeat."""
        for told in extents:
            row = self.row(told.epoch)
            extent = older_extent(
                told,
                row,  # type: ignore[arg-type] # a mapping of the same keys
                NOW + timedelta(minutes=1),
                begun_at=NOW,
                is_shared=False,
            )
            old = self.gaps[told.epoch]
            parts = [part for gap in old for part in resolve(gap, extent.returned, NOW)]
            self.gaps[told.epoch] = parts + extent.gaps
            row |= extent.changes(row)  # type: ignore[arg-type] # as above
        accepted = [
            AcceptedThrough(
                epoch=told.epoch,
                accepted_through=int(str(self.row(told.epoch)["accepted_through"])),
            )
            for told in extents
        ]
        return HeartbeatAnswer(epochs=accepted)

    def lost(self) -> list[tuple[str, int]]:
        """Return the numbers that are gone for good."""
        return [
            (epoch, number)
            for epoch, gaps in self.gaps.items()
            for gap in gaps
            if gap.reason != MOVED
            for number in range(gap.first, gap.last + 1)
        ]


class Machine:
    """A till's machine over the days of a history."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.office = HeadOffice()
        self.epochs = EpochIds()
        self.receipts: dict[str, str] = {}

    async def live(self, day: Day, number: int) -> None:
        """Trade with one database, which is damaged and set aside in the end."""
        async with outbox_on(self.directory, epochs=self.epochs) as rig:
            await rig.writer.check(PATIENCE_SECONDS)
            if day.is_salvaged:
                await salvage_of(rig).run_once()
            for index, is_answered in enumerate(day.answered):
                name = f"{number}-{index}"
                await self._capture(rig, name, is_answered=is_answered)
            await self._deliver(rig, day.delivered)
            if day.is_salvaged:
                await salvage_of(rig).run_once()
            if day.is_heard:
                await self._beat(rig)
        numbers = ", ".join(map(str, day.holes)) or "0"
        change(self.directory, f"DELETE FROM event WHERE position IN ({numbers})")  # noqa: S608 - the test's own values
        quarantine(self.directory / DATABASE_FILE, AT.wall_us + number * 1_000_000)

    async def recover(self) -> None:
        """Open the last database, salvage and deliver all, and tell head office."""
        async with outbox_on(self.directory, epochs=self.epochs) as rig:
            await rig.writer.check(PATIENCE_SECONDS)
            await salvage_of(rig).run_once()
            await self._deliver(rig, 1_000)
            await salvage_of(rig).run_once()
            reports = LossReports(rig.outbox.access, lambda: 1)
            for _ in range(60):
                if not await self._beat(rig, reports):
                    break
            for _ in range(12):
                await self._beat(rig, reports)

    async def _capture(self, rig: OutboxRig, name: str, *, is_answered: bool) -> None:
        (self.receipts[name],) = await rig.capture(session(name))
        if is_answered:
            (self.receipts[f"{name}/answer"],) = await rig.capture(answer(name))

    async def _deliver(self, rig: OutboxRig, most: int) -> None:
        while most > 0 and (window := await rig.window(most)).events:
            for event in window.events:
                assert event.damage is None
                is_session = event.session == event.position
                name = event.correlation_id if is_session else f"{event.correlation_id}/answer"
                self.office.arrived.add(name)
                row = self.office.row(window.epoch)
                row["accepted_through"] = row["last_sequence"] = event.sequence
            most -= len(window.events)
            await rig.deliver(*window.events)

    async def _beat(self, rig: OutboxRig, reports: LossReports | None = None) -> bool:
        reports = reports or LossReports(rig.outbox.access, lambda: 1)
        status = StoreReader(self.directory).status()
        older = status.epochs[:-1]
        pages = await rig.outbox.access.read_hot(reports.read_pages, older)
        extents = await reports.extents(older, status.lost, pages)
        self.office.row(status.current.epoch)
        return await reports.on_answer(self.office.hear(extents), extents, status.lost)


async def settled(days: list[Day], directory: Path) -> tuple[Machine, list[tuple[str, int, int]]]:
    """Return the machine after these days, and what it says is lost."""
    machine = Machine(directory)
    for number, day in enumerate(days):
        await machine.live(day, number)
    await machine.recover()
    lost = StoreReader(directory).status().lost
    return machine, [(one.epoch, one.first, one.count) for one in lost if one.count]


def day(answered: int, *holes: int, delivered: int = 0, salvaged: bool = True) -> Day:
    return Day([True] * answered, delivered, set(holes), salvaged, is_heard=False)


@settings(max_examples=40, deadline=None)
@given(days=st.lists(DAYS, min_size=1, max_size=3), ranges=st.sampled_from([1, 2, 100]))
@example(days=[day(4, 3, 6, delivered=1)], ranges=100)
@example(days=[day(6, 3, 5, 7, 9, 11)], ranges=1)
@example(days=[day(4, 2), day(3, 4, 7)], ranges=100)
@example(days=[day(4, 2), day(0, 3, 4), day(2, 6)], ranges=2)
@example(days=[day(3, 2), day(0, delivered=9), day(1)], ranges=100)
@example(days=[day(3, 2, salvaged=False), day(2, salvaged=False), day(1, 2)], ranges=100)
def test_captures_that_were_acknowledged_have_arrived_or_are_named_as_lost(
    days: list[Day], ranges: int
) -> None:
    with (
        tempfile.TemporaryDirectory() as directory,
        patch.object(loss_reports, "MAX_RANGES_OF_AN_EPOCH", ranges),
    ):
        machine, told = asyncio.run(settled(days, Path(directory)))

    office = machine.office
    gone = machine.receipts.keys() - office.arrived
    lost = office.lost()
    assert {f"{epoch}/{number}" for epoch, number in lost} >= {machine.receipts[n] for n in gone}
    assert len(lost) == len(gone)
    assert sum(count for _, _, count in told) == len(lost)
    outstanding = {
        e: r for e, r in office.rows.items() if r["last_sequence"] != r["accepted_through"]
    }
    assert outstanding == {}
