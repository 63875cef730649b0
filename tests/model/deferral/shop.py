"""A shop of a history: the agent, what was captured, and what is remembered to judge it."""

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from sync.protocol.wire import EventType
from tests.model.deferral.state import Held, read_held
from tests.model.deferral.watched_central import BY_GATEWAY, NAMES, WatchedCentral
from tests.model.delivery_harness import DeliveryHarness, numbered_answer, numbered_session

KINDS = ("batch", "replay", "strict")
MAX_TRIES_IN_A_PASS = 3
MAX_BACKOFF_SECONDS = 60


@dataclass
class Memory:
    """What was seen. Times are true ones, in seconds.

    `by_itself`: the faults that an event ever had alone. `refused`: what head office ever refused.
    `dead`: what ever was a dead letter. `deferred_at`: since when an event is deferred.
    `by_a_person`: set aside by hand. `after_days`: set aside by the job.
    """

    ever_delivered: set[int] = field(default_factory=set)
    discarded: set[int] = field(default_factory=set)
    purged: set[int] = field(default_factory=set)
    lost_by_restore: set[int] = field(default_factory=set)
    by_itself: dict[int, set[str]] = field(default_factory=lambda: defaultdict(set))
    refused: set[tuple[str, EventType | None]] = field(default_factory=set)
    dead: set[int] = field(default_factory=set)
    by_a_person: set[int] = field(default_factory=set)
    after_days: set[int] = field(default_factory=set)
    deferred_at: dict[int, float] = field(default_factory=dict)
    last_delivery_at: float = 0.0
    problems: list[str] = field(default_factory=list)


class Shop:
    """An agent that delivers by one of `KINDS`. Numbers given to a step choose what there is."""

    def __init__(self, kind: str, template: Path) -> None:
        self.kind = kind
        self.is_batch = kind == "batch"
        protocol = "batch" if self.is_batch else "replay"
        self.harness = DeliveryHarness(protocol, WatchedCentral, template)
        assert isinstance(self.harness.central, WatchedCentral)
        self.central = self.harness.central
        self.central.conflicts = kind == "strict"
        self.captured: list[tuple[str, bool]] = []
        self.memory = Memory()
        self.backup = self.central.backup()
        self.was_restored = self.has_crashed = False
        self.failures = 0
        self.stepped_seconds = 0.0

    @property
    def true_seconds(self) -> float:
        """The time that has really passed."""
        return self.harness.clock() / 1e6 - self.stepped_seconds

    def held(self) -> dict[int, Held]:
        """Return the captures in the agent's database."""
        return read_held(self.harness.directory)

    def delivered(self) -> list[int]:
        """Return the numbers at head office, in order of arrival."""
        return [int(str(record.document["n"])) for record in self.central.ledger.records]

    def add_session(self) -> int:
        """Capture a session; return its number."""
        number = len(self.captured) + 1
        self.harness.capture(numbered_session(f"s{number}", number))
        self.captured.append((f"s{number}", False))
        return number

    def add_answer(self, index: int) -> int | None:
        """Capture an answer to one of the sessions that are held; return its number."""
        held = self.held()
        names = [
            name
            for number, (name, is_answer) in enumerate(self.captured, 1)
            if not is_answer and number in held
        ]
        if not names:
            return None
        name, number = names[index % len(names)], len(self.captured) + 1
        self.harness.capture(numbered_answer(name, number))
        self.captured.append((name, True))
        return number

    def trouble(self, number: int, *faults: int) -> None:
        """Let an event fail by itself, in these ways in turn."""
        names = [NAMES[one % len(NAMES)] for one in faults]
        self.central.troubles.of_events[number] = names
        self.memory.by_itself[number].update(names)

    def one_pass(self) -> None:
        """Run a pass as the delivery loop does, and wait for the end of its backoff."""
        before = self.held()
        tried = {number for number, one in before.items() if one.is_deferred and one.attempts}
        self.central.counts.clear()
        report = self.harness.push(probing=self.failures > 0, failures=self.failures)
        if report.made_progress or report.stop is None:
            self.failures = 0
        if report.stop is not None:
            self.failures += 1
        wait_seconds = min(2**self.failures, MAX_BACKOFF_SECONDS) if report.stop else 1
        self.harness.clock.pass_seconds(wait_seconds)
        if not self.is_batch:
            for number, count in self.central.counts.items():
                if count > (1 if number in tried else MAX_TRIES_IN_A_PASS):
                    self.memory.problems.append(f"{number} is sent {count} times in a pass")
        for number, one in self.held().items():
            was_retried = number in before and before[number].is_dead and before[number].is_retried
            is_same = was_retried and one == before[number]._replace(is_retried=False)
            if is_same and not self.central.counts[number]:
                self.memory.problems.append(f"the retry of {number} is forgotten")
        self.look()

    def look(self) -> None:
        """Remember what is seen now."""
        memory, held, there = self.memory, self.held(), set(self.delivered())
        if there - memory.ever_delivered:
            memory.last_delivery_at = self.true_seconds
        memory.ever_delivered |= there
        memory.dead |= {number for number, one in held.items() if one.is_dead}
        deferred = {number for number, one in held.items() if one.is_deferred}
        for number in memory.deferred_at.keys() - deferred:
            del memory.deferred_at[number]
        for number in deferred:
            memory.deferred_at.setdefault(number, self.true_seconds)

    def is_dead_by_gateway(self, number: int) -> bool:
        """Return whether a gateway ever refused this event, and not others."""
        return bool(self.memory.by_itself[number] & BY_GATEWAY)

    def before(self, number: int) -> set[int]:
        """Return the earlier events of the same session, and the session."""
        name = self.captured[number - 1][0]
        return {n for n, (other, _) in enumerate(self.captured[: number - 1], 1) if other == name}
