"""Steps of agents and of the machines they run on."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from tests.model.whole.clocks import DAY_US, HOUR_US, SECOND_US
from tests.model.whole.kill_switch import SWITCH
from tests.model.whole.line import Fault
from tests.model.whole.steps.chain import Chain

_Step: TypeAlias = Callable[..., Awaitable[None]]
FAULTS = list(Fault)
# Half the retention of 30 days: with a wrong clock, time may count twice.
HOURS = 6
KEPT_US = 14 * DAY_US
WAITS = [60 * SECOND_US, HOUR_US, DAY_US, 31 * DAY_US]
CLOCK_STEPS = [-DAY_US, -HOUR_US, HOUR_US, 400 * DAY_US]


class AgentSteps(Chain):
    """Delivery, housekeeping, restarts, kills, clocks."""

    async def deliver(self, which: int, first: int = 0, second: int = 0) -> None:
        """An agent runs a delivery pass; its first requests meet faults."""
        machine = await self.running(which)
        one, others = FAULTS[first % len(FAULTS)], FAULTS[second % len(FAULTS)]
        # Three requests: a request that gets no answer is tried so often.
        await machine.deliver(one, others, others)
        self.note_delivered(machine)

    async def hours(self, which: int) -> None:
        """Some hours pass: a firewall that dislikes some contents holds no others."""
        machine = await self.running(which)
        for _ in range(HOURS + len(machine.line.denied)):
            self.time.pass_us(HOUR_US)
            await machine.deliver()
        self.note_delivered(machine)
        names = {self.book.requests[number - 1].correlation_id for number in machine.line.denied}
        for one in machine.held():
            is_own = self.book.requests[one.number - 1].correlation_id in names
            if one.is_pending and not is_own and not self.needs_tokens:
                self.problems.append(f"request {one.number} is held up by what a firewall denies")

    async def heartbeat(self, which: int, fault: int = 0) -> None:
        """An agent sends a heartbeat."""
        machine = await self.running(which)
        await machine.heartbeat(FAULTS[fault % len(FAULTS)])

    async def late_arrives(self, hours: int) -> None:
        """The requests that are on their way arrive, some hours later."""
        self.time.pass_us(hours * HOUR_US)
        for machine in self.machines:
            await machine.line.let_late_arrive()

    async def clean_up(self, which: int) -> None:
        """An agent erases and purges."""
        machine = await self.running(which)
        before = [one for one in machine.held() if not one.is_discarded]
        await machine.clean_up()
        left = {one.number for one in machine.held()}
        for one in before:
            since_us = self.delivered_us.get(one.number)
            if one.number in left or since_us is None:
                continue
            if self.time.now_us - since_us < KEPT_US:
                self.problems.append(f"request {one.number} was purged too early")

    async def restart(self, which: int) -> None:
        """An agent is restarted."""
        machine = await self.running(which)
        await machine.restart()

    async def upgrade(self, which: int) -> None:
        """An agent is upgraded, from a version that did not understand all of the terms."""
        machine = await self.running(which)
        await machine.stop()
        machine.read_terms_as_another_version()
        await machine.start()

    async def reboot(self, which: int) -> None:
        """A machine boots: its monotonic clock begins again."""
        machine = self.machine(which)
        await machine.stop()
        machine.boot_id = self.site.new_name("boot")
        machine.clock.booted_us = self.time.now_us
        await machine.start()

    async def step_clock(self, which: int, index: int) -> None:
        """A machine's wall clock steps, or is put right."""
        steps = [*CLOCK_STEPS, 0]
        machine = self.machine(which)
        machine.clock.wrong_by_us, machine.had_wrong_clock = steps[index % len(steps)], True

    async def wait(self, index: int) -> None:
        """Time passes."""
        self.time.pass_us(WAITS[index % len(WAITS)])

    async def month(self) -> None:
        """A month passes, with the daily jobs of both ends at its end."""
        self.time.pass_us(WAITS[-1])
        for machine in self.alive:
            if machine.was_used:
                await self.clean_up(self.alive.index(machine))
        await self.office.purge()

    async def kill(self, which: int, points: int, step: str, *arguments: int) -> None:
        """An agent is killed within a step, or after it."""
        machine = await self.running(which)
        place = self.site.new_directory()

        def die() -> None:
            machine.copy_to(place)
            machine.line.is_cut, self.tells = True, False

        SWITCH.arm(points, die)
        try:
            inner: _Step = getattr(self, step)
            await inner(which, *arguments)
        finally:
            if SWITCH.disarm():
                die()
        await machine.stop()
        machine.directory, machine.line.is_cut, self.tells = place, False, True
        await machine.start()
