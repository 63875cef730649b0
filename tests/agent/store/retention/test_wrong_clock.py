"""A clock that is set ahead ends no retention period before its time has really passed."""

from contextlib import AbstractAsyncContextManager
from pathlib import Path

from agent.store.retention.retention import RetentionDays
from sync.runtime.retention_clock import CLOCK_FILE, RetentionClock
from tests.support.agent.outbox import OutboxRig, outbox_on
from tests.support.agent.store import answer, query, session
from tests.support.clocks import WallClock

DAY_SECONDS = 24 * 3600
YEAR_SECONDS = 365 * DAY_SECONDS
EVENTS = "SELECT count(*) FROM event"
ADDRESSES = "SELECT count(*) FROM email_answer WHERE address IS NOT NULL"
DIGESTS = "SELECT count(*) FROM email_answer WHERE address_mark IS NOT NULL"
MONTH = RetentionDays(delivered_days=30, email_days=7)


class Machine:
    """A machine that boots now, and its wall clock."""

    def __init__(self) -> None:
        self.wall = WallClock(1_780_000_000_000_000)
        self.passed_us = 0

    def pass_days(self, days: float) -> None:
        self.passed_us += round(days * DAY_SECONDS * 1e6)
        self.wall.pass_seconds(days * DAY_SECONDS)

    def clocks(self) -> tuple[int, int]:
        return self.wall.now_us, self.passed_us

    def outbox(self, directory: Path) -> AbstractAsyncContextManager[OutboxRig]:
        """Run its outbox."""
        clock = RetentionClock(directory / CLOCK_FILE, "boot", self.clocks)
        return outbox_on(directory, clock=self.wall, retention=MONTH, retention_clock=clock)


async def purge_all(rig: OutboxRig) -> None:
    """Purge and erase everything due."""
    retention = rig.outbox.retention
    await retention.repair_times()
    for step in (retention.erase_once, retention.erase_digests_once, retention.purge_once):
        while await step():
            pass


def held(directory: Path) -> tuple[object, ...]:
    """Return the counts of events, addresses and digests."""
    return tuple(query(directory, sql)[0][0] for sql in (EVENTS, ADDRESSES, DIGESTS))


async def test_clock_set_ahead_for_a_while_purges_and_erases_nothing(tmp_path: Path) -> None:
    machine = Machine()
    async with machine.outbox(tmp_path) as rig:
        await rig.capture(session("one"), answer("one"))
        await rig.deliver_all()
        await purge_all(rig)
        machine.wall.pass_seconds(10 * YEAR_SECONDS)
        await purge_all(rig)
        machine.pass_days(1)
        await purge_all(rig)
        machine.wall.pass_seconds(-10 * YEAR_SECONDS)
        assert held(tmp_path) == (2, 1, 1)

        machine.pass_days(7)
        await purge_all(rig)
        assert held(tmp_path) == (2, 0, 0)
        machine.pass_days(23)
        await purge_all(rig)
        assert held(tmp_path) == (0, 0, 0)


async def test_clock_that_stays_ahead_purges_in_the_end(tmp_path: Path) -> None:
    machine = Machine()
    async with machine.outbox(tmp_path) as rig:
        await rig.capture(session("one"))
        await rig.deliver_all()
        await purge_all(rig)
        machine.wall.pass_seconds(60 * DAY_SECONDS)
        for _ in range(31):
            machine.pass_days(1)
            await purge_all(rig)

        assert held(tmp_path) == (0, 0, 0)
