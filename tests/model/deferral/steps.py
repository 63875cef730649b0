"""Everything that can happen to a shop and its head office: one method a step of a history."""

from collections.abc import Mapping

from sync.protocol.wire import EventType
from tests.model.deferral.shop import Shop
from tests.model.deferral.state import Held
from tests.model.deferral.watched_central import ENDPOINTS, NAMES
from tests.model.delivery_harness import numbered_answer

WAITS = (1, 30, 61, 3_700, 12 * 3_600)
CLOCK_STEPS = (-(10**9), -3_600, 3_600, 10**9)
DAY = 24 * 3_600
STUCK_DAYS, DAYS_UNTIL_STUCK = 7, 6
ROUNDS_OF_AN_HOUR = 8
_KINDS = (None, EventType.SESSION_STARTED, EventType.EMAIL_ANSWERED)


class Steps(Shop):
    """A shop to which everything can happen."""

    # Tills.

    def session(self) -> None:
        self.add_session()

    def sessions(self, count: int) -> None:
        for _ in range(count):
            self.add_session()

    def answer(self, index: int) -> None:
        self.add_answer(index)

    # Head office and what is before it.

    def bad_session(self, *faults: int) -> None:
        """Capture a session that fails by itself."""
        self.trouble(self.add_session(), *faults)

    def bad_sessions(self, count: int, fault: int) -> None:
        """Capture several sessions in a row that fail by themselves, each in another way."""
        for number in range(count):
            self.trouble(self.add_session(), fault + number)

    def row(self, count: int, *faults: int) -> None:
        """Capture several sessions in a row that fail alike, and one that passes."""
        for _ in range(count):
            self.trouble(self.add_session(), *faults)
        self.add_session()

    def bad_answer(self, index: int, *faults: int) -> None:
        """Capture an answer that fails by itself."""
        if number := self.add_answer(index):
            self.trouble(number, *faults)

    def fail(self, index: int, *faults: int) -> None:
        """Let an event fail by itself from now on."""
        if self.captured:
            self.trouble(1 + index % len(self.captured), *faults)

    def heal(self, index: int) -> None:
        """Let an event that fails pass from now on."""
        failing = self.central.troubles.of_events
        if failing:
            del failing[sorted(failing)[index % len(failing)]]

    def heal_all(self) -> None:
        self.central.troubles.end()
        self.central.accept_all()

    def refuse(self, index: int, kind: int) -> None:
        """Let head office refuse a session, its answers or both."""
        if self.captured:
            name, _ = self.captured[index % len(self.captured)]
            self.central.refuse(name, _KINDS[kind % 3])
            self.memory.refused.add((name, _KINDS[kind % 3]))

    def fail_when_retried(self, *faults: int) -> None:
        """Let head office refuse a session and its answer, and the session fail at its retry."""
        number = self.add_session()
        name, _ = self.captured[number - 1]
        self.harness.capture(numbered_answer(name, number + 1))
        self.captured.append((name, True))
        self.central.refuse(name)
        self.memory.refused.add((name, None))
        self.one_pass()
        self.trouble(number, *faults)
        self.retry_day()

    def endpoint_fails(self, which: int, fault: int) -> None:
        """Let all sessions fail, or all answers; with `batch` all batches."""
        name = NAMES[fault % len(NAMES)]
        self.central.troubles.of_endpoints[ENDPOINTS[which % 2]] = name

    def contents_fail(self, fault: int) -> None:
        """Let everything fail that has a content; a harmless request passes."""
        self.central.troubles.of_contents = NAMES[fault % len(NAMES)]

    def all_fail(self, fault: int) -> None:
        self.central.troubles.of_all = NAMES[fault % len(NAMES)]

    def common_end(self) -> None:
        """Let only the events fail that fail by themselves."""
        self.central.troubles.end_common()

    # Delivery.

    def deliver(self, passes: int = 1) -> None:
        for _ in range(passes):
            self.one_pass()

    def cut_off(self) -> None:
        """Run a pass without a network."""
        self.harness.http.is_disconnected = True
        self.one_pass()
        self.harness.http.is_disconnected = False

    def cancel(self, request: int, served: int) -> None:
        self.harness.push_and_cancel(request, served=bool(served))

    def crash(self, request: int, served: int) -> None:
        self.has_crashed = True
        self.failures = 0
        self.harness.crash_while_pushing(request, served=bool(served))

    def restart(self) -> None:
        self.failures = 0
        self.harness.restart()

    def wait(self, index: int) -> None:
        """Let time pass, and deliver what is due."""
        self.harness.clock.pass_seconds(WAITS[index % len(WAITS)])
        self.one_pass()

    # Store IT and the jobs of the agent.

    def retry(self, index: int) -> None:
        self.harness.decide_dead_letter(index, discarding=False)

    def discard(self, index: int) -> None:
        number = self.harness.decide_dead_letter(index, discarding=True)
        if number is not None:
            self.memory.discarded.add(number)

    def set_aside(self, index: int) -> None:
        before = self._deferred()
        self.harness.set_aside(index)
        self.memory.by_a_person |= before - self._deferred()

    def sync(self) -> None:
        """Run `loyalty-agent sync`."""
        self.harness.retry_deferred()
        self.one_pass()

    def retry_day(self) -> None:
        """Let days pass, and retry the dead letters as the daily job does."""
        self.harness.retry_all()

    def set_aside_stuck(self) -> None:
        """Run the hourly job."""
        before = self._deferred()
        since = dict(self.memory.deferred_at)
        self.harness.set_aside_stuck(STUCK_DAYS)
        for number in before - self._deferred():
            self.memory.after_days.add(number)
            days = (self.true_seconds - since.get(number, self.true_seconds)) / DAY
            if days < STUCK_DAYS - 1:
                self.memory.problems.append(f"{number} is set aside after {days:.1f} days")
            if self.memory.last_delivery_at < self.true_seconds - 3 * DAY:
                self.memory.problems.append(f"{number} is set aside while nothing else passes")

    def erase(self) -> None:
        self.harness.erase()
        for number, one in self.held().items():
            if one.has_address and not one.is_undelivered and one.code is None:
                self.memory.problems.append(f"the address of {number} is left")

    def purge(self) -> None:
        before = self.held().keys()
        self.harness.clock.pass_seconds(1)
        self.harness.purge()
        gone = before - self.held().keys()
        for number in gone - self.memory.ever_delivered - self.memory.discarded:
            self.memory.problems.append(f"{number} is purged and was not delivered")
        self.memory.purged |= gone

    # Clocks.

    def step_clock(self, index: int) -> None:
        self._step(CLOCK_STEPS[index % len(CLOCK_STEPS)])

    def boot_in_1970(self) -> None:
        """Boot without a clock battery."""
        self._step(60 - self.harness.clock() / 1e6)
        self.restart()

    def put_clock_right(self) -> None:
        self._step(-self.stepped_seconds)

    # Head office's own troubles; with `batch`.

    def heartbeat(self) -> None:
        if self.is_batch:
            self.harness.send_heartbeat()

    def heartbeat_in_a_pass(self) -> None:
        if self.is_batch:
            self.harness.push_with_heartbeat()

    def back_up(self) -> None:
        self.backup = self.central.backup()

    def restore(self) -> None:
        """Restore head office from the last backup; without one it is emptied."""
        if not self.is_batch:
            return
        self.look()
        before = set(self.delivered())
        self.central.ledger = self.backup
        self.backup = self.central.backup()
        lost = before - set(self.delivered())
        self.was_restored = True
        self.memory.lost_by_restore |= lost
        self.memory.purged |= lost - self.held().keys()

    # Longer times.

    def hours(self) -> None:
        """Let some hours pass in which only single events fail: all others must arrive.

        The shop goes on: that other sessions pass shows that those that fail do so by themselves.
        """
        self.common_end()
        self.add_session()
        for _ in range(8 + len(self.central.troubles.of_events)):
            self.one_pass()
            if not self._held_up():
                return
        for _ in range(ROUNDS_OF_AN_HOUR):
            if self.is_batch:
                self.harness.send_heartbeat()
            self.harness.clock.pass_seconds(3_700)
            self.add_session()
            self.deliver(2)
            if not self._held_up():
                return
        for number in self._held_up():
            self.memory.problems.append(f"{number} does not arrive, and does not fail itself")

    def week(self) -> None:
        """Let weeks pass in a shop that sells: what fails all the time is set aside.

        Behind an event of its session nothing counts.
        """
        self.common_end()
        failing = dict(self.central.troubles.of_events)
        first = [one for one in failing if not self._is_behind(one, self.held())]
        for _ in range(STUCK_DAYS + DAYS_UNTIL_STUCK):
            for _ in range(6):
                self.add_session()
                self.deliver()
                self.harness.clock.pass_seconds(4 * 3_600)
            self.set_aside_stuck()
        held = self.held()
        for number in held.keys() & first:
            if held[number].is_undelivered:
                self.memory.problems.append(f"{number} fails for a week and is not set aside")

    def _held_up(self) -> list[int]:
        """Return what waits, and neither fails by itself nor waits behind what does."""
        failing = self.central.troubles.of_events.keys()
        return [
            number
            for number, one in self.held().items()
            if one.is_undelivered and not failing & {number, *self.before(number)}
        ]

    def _is_behind(self, number: int, held: Mapping[int, Held]) -> bool:
        return any(n in held and held[n].is_undelivered for n in self.before(number))

    def _step(self, seconds: float) -> None:
        self.harness.clock.pass_seconds(seconds)
        self.stepped_seconds += seconds

    def _deferred(self) -> set[int]:
        return {number for number, one in self.held().items() if one.is_deferred}
