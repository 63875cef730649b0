"""A running outbox for tests: a real file, the real writer, a manual clock."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from agent.facts import Capture, Outcome, Recorded
from agent.store.files.disk_space import SpaceLimits
from agent.store.open import StoreOpener
from agent.store.outbox.outbox import StoreOutbox
from agent.store.retention.retention import RetentionDays, RetentionNow
from agent.store.writer import Writer
from sync.delivery.outbox import BatchLimits, EventResult, OutboxEvent, Window
from sync.delivery.outcomes import Delivered, Refused
from tests.support.agent.store import AT, KEY_FILE, LIMITS, EpochIds, opener
from tests.support.clocks import WallClock
from tests.support.patience import PATIENCE_SECONDS

RETENTION = RetentionDays(delivered_days=30, email_days=0)
PLENTY = BatchLimits(events=1000, max_bytes=2**30)
REFUSED = Refused("CODE", "a reason", 400)
DELIVERED = Delivered()


def ignore_commit(_captures: int, _seconds: float) -> None:
    """Do nothing."""


@dataclass
class OutboxRig:
    """An outbox, its writer, and shortcuts to use them."""

    directory: Path
    writer: Writer
    outbox: StoreOutbox
    clock: WallClock

    async def capture(self, *captures: Capture) -> list[str]:
        """Record `captures` one after another; return their receipts."""
        return [receipt_of(await self.writer.record(one, AT)) for one in captures]

    async def window(self, events: int = 1000, after: int = 0) -> Window:
        """Read a window of pending events."""
        return await self.outbox.next_window(BatchLimits(events, 2**30), after=after)

    async def positions(self) -> list[int]:
        """Return the positions of the pending events."""
        return [event.position for event in (await self.window()).events]

    async def deliver(self, *events: OutboxEvent) -> None:
        """Settle `events` as delivered."""
        await self._settle(judged(events))

    async def refuse(self, *events: OutboxEvent, verdict: Refused = REFUSED) -> None:
        """Settle `events` as rejected."""
        await self._settle([EventResult(event, verdict) for event in events])

    async def _settle(self, judged: Sequence[EventResult]) -> None:
        current = await self.outbox.next_window(BatchLimits(1, 1))
        events = [one.event for one in judged]
        await self.outbox.settle(Window(current.epoch, 1, events), judged)

    async def deliver_all(self) -> None:
        """Settle all pending events as delivered."""
        while events := (await self.window()).events:
            await self.deliver(*events)


def judged(events: Sequence[OutboxEvent]) -> list[EventResult]:
    """Return a "delivered" verdict for each of `events`."""
    return [EventResult(event, DELIVERED) for event in events]


def receipt_of(outcome: Outcome) -> str:
    """Return the receipt of a recorded capture."""
    assert isinstance(outcome, Recorded)
    return str(outcome.receipt)


def start_outbox(
    directory: Path,
    opener: StoreOpener,
    clock: WallClock,
    retention: RetentionDays = RETENTION,
    version: str = "1.0",
    retention_clock: RetentionNow | None = None,
    writer_type: type[Writer] = Writer,
) -> OutboxRig:
    """Start a writer and an outbox on `directory`; the caller closes the writer."""

    async def wall_clock() -> int:
        return clock()

    writer = writer_type(opener, ignore_commit)
    writer.start()
    outbox = StoreOutbox(
        writer,
        directory,
        directory / KEY_FILE,
        retention,
        now_us=clock,
        agent_version=version,
        retention_clock=retention_clock or wall_clock,
    )
    return OutboxRig(directory, writer, outbox, clock)


@asynccontextmanager
async def outbox_on(
    directory: Path,
    *,
    epochs: EpochIds | None = None,
    clock: WallClock | None = None,
    limits: SpaceLimits = LIMITS,
    version: str = "1.0",
    retention: RetentionDays = RETENTION,
    retention_clock: RetentionNow | None = None,
) -> AsyncIterator[OutboxRig]:
    """Run a writer and an outbox on `directory` until the block ends."""
    opening = opener(directory, epochs=epochs, limits=limits)
    rig = start_outbox(
        directory, opening, clock or WallClock(), retention, version, retention_clock
    )
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            yield rig
    finally:
        await rig.writer.close()
