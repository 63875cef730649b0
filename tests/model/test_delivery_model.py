"""Random histories from till to head office: no event is lost or duplicated.

Steps: captures, passes under faults, cancelled passes, crashes during a pass, a head office
restored from a backup, refusing events or failing on some, decisions about dead letters and
deferred events, erasing, purging, and clock steps. Each capture carries a number that identifies it
everywhere.

A failure is printed as a sequence of steps. Before fixing it, add these steps to
`test_histories.py` as a test named for the fault.
"""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from sync.protocol.wire import EventType
from tests.model.delivery_harness import DeliveryHarness, numbered_answer, numbered_session
from tests.support.central import Fault, faults
from tests.support.central.ledger import Ledger, Record

pytestmark = pytest.mark.slow

CHOICES = st.integers(0, 10**6)
REQUESTS = st.integers(0, 4)
FAULTS: dict[str, Fault] = {
    "answer lost": faults.answer_lost,
    "reset before": faults.reset_before,
    "cut short": faults.cut_short,
    "captive portal": faults.captive_portal,
    "bad gateway": faults.html(502),
    "gateway timeout": faults.gateway(504),
    "unauthorized": faults.gateway(401),
    "forbidden": faults.gateway(403),
    "busy": faults.overloaded("1"),
    "busy for long": faults.overloaded("3000", 503),
    "failed": faults.problem(500, "INTERNAL_ERROR"),
    "too large": faults.gateway(413),
}
# Of a firewall, a gateway or head office for one event, whenever it is sent.
FAULTS_OF_ONE = [name for name in sorted(FAULTS) if name != "too large"]
MAX_ROUNDS = 20


class DeliveryMachine(RuleBasedStateMachine):
    """History of one machine; the invariants are checked after each step and at the end."""

    protocol = ""

    def __init__(self) -> None:
        super().__init__()
        self.harness = DeliveryHarness(self.protocol)
        self.captured: list[tuple[str, bool]] = []
        self.discarded: set[int] = set()
        self.ever_delivered: set[int] = set()
        self.purged: set[int] = set()
        self.lost_by_restore: set[int] = set()
        self.backup: Ledger | None = None

    def teardown(self) -> None:
        self.harness.close()

    # Tills.

    @rule()
    def capture_session(self) -> None:
        number = len(self.captured) + 1
        self.harness.capture(numbered_session(f"s{number}", number))
        self.captured.append((f"s{number}", False))

    @precondition(lambda self: self.captured)
    @rule(which=CHOICES)
    def capture_answer(self, which: int) -> None:
        names = [name for name, is_answer in self.captured if not is_answer]
        alive = [name for name in names if int(name[1:]) not in self.purged]
        if alive:
            name, number = alive[which % len(alive)], len(self.captured) + 1
            self.harness.capture(numbered_answer(name, number))
            self.captured.append((name, True))

    # Passes.

    @rule(faults_met=st.lists(st.sampled_from(sorted(FAULTS)), max_size=4), probing=st.booleans())
    def push(self, faults_met: list[str], probing: bool) -> None:  # noqa: FBT001 - drawn
        self.harness.central.script(*(FAULTS[name] for name in faults_met))
        self.harness.push(probing=probing)
        self.harness.central.clear_script()

    @rule()
    def push_without_a_network(self) -> None:
        self.harness.http.is_disconnected = True
        self.harness.push()
        self.harness.http.is_disconnected = False

    @rule(request=REQUESTS, served=st.booleans())
    def cancel_a_pass(self, request: int, served: bool) -> None:  # noqa: FBT001 - drawn
        self.harness.push_and_cancel(request, served=served)

    @rule(request=REQUESTS, served=st.booleans())
    def crash_during_a_pass(self, request: int, served: bool) -> None:  # noqa: FBT001 - drawn
        self.harness.crash_while_pushing(request, served=served)

    @rule()
    def restart(self) -> None:
        self.harness.restart()

    # Head office.

    @precondition(lambda self: self.captured)
    @rule(which=CHOICES, kind=st.sampled_from([None, *EventType]))
    def refuse(self, which: int, kind: EventType | None) -> None:
        name, _ = self.captured[which % len(self.captured)]
        self.harness.central.refuse(name, kind)

    @precondition(lambda self: self.captured)
    @rule(which=CHOICES, fault=st.sampled_from(FAULTS_OF_ONE))
    def fail_on(self, which: int, fault: str) -> None:
        """Fail on one event: it is deferred while others pass."""
        self.harness.fail_on(1 + which % len(self.captured), FAULTS[fault])

    @rule()
    def accept_all(self) -> None:
        self.harness.accept_all()

    # Store IT, housekeeping and time.

    @rule(which=CHOICES, discarding=st.booleans())
    def decide_dead_letter(self, which: int, discarding: bool) -> None:  # noqa: FBT001 - drawn
        sequence = self.harness.decide_dead_letter(which, discarding=discarding)
        if sequence is not None and discarding:
            self.discarded.add(sequence)

    @rule(which=CHOICES)
    def set_aside(self, which: int) -> None:
        self.harness.set_aside(which)

    @rule(seconds=st.sampled_from([2, 30, 3_600]))
    def wait_and_push(self, seconds: int) -> None:
        """Let some deferred events become due, and try them again."""
        self.harness.clock.pass_seconds(seconds)
        self.harness.push()

    @rule()
    def retry_all(self) -> None:
        self.harness.retry_all()

    @rule()
    def erase(self) -> None:
        self.harness.erase()
        for number, (is_pending, is_dead, has_address) in self.harness.held().items():
            assert not has_address or is_pending or is_dead, f"the address of {number} is left"

    @rule()
    def purge(self) -> None:
        before = self.harness.held().keys()
        self.harness.clock.pass_seconds(1)
        self.harness.purge()
        purged = before - self.harness.held().keys()
        assert purged <= self.ever_delivered | self.discarded
        self.purged |= purged

    @rule(seconds=st.sampled_from([-(10**9), -3600, 1, 3600, 10**9]))
    def step_the_clock(self, seconds: int) -> None:
        self.harness.clock.pass_seconds(seconds)

    # Invariants.

    @invariant()
    def no_acknowledged_capture_is_lost(self) -> None:
        there = set(self.delivered_numbers())
        self.ever_delivered |= there
        held = self.harness.held()
        kept = {
            number for number, (is_pending, is_dead, _) in held.items() if is_pending or is_dead
        }
        everything = set(range(1, len(self.captured) + 1))
        assert everything == there | kept | self.purged | (self.lost_by_restore & held.keys())

    @invariant()
    def no_duplicate_at_central(self) -> None:
        numbers = self.delivered_numbers()
        assert len(numbers) == len(set(numbers))

    @invariant()
    def captures_arrive_in_order_per_session(self) -> None:
        of_session: dict[str, list[int]] = {}
        for record in self.records_in_order():
            of_session.setdefault(record.correlation_id, []).append(number_of(record))
        for numbers in of_session.values():
            assert numbers == sorted(numbers)

    @invariant()
    def undelivered_answers_keep_their_address(self) -> None:
        for number, (_, _, has_address) in self.harness.held().items():
            _, is_answer = self.captured[number - 1]
            if is_answer and number not in self.ever_delivered | self.discarded:
                assert has_address, f"the address of {number} was erased too early"

    @rule()
    def recover(self) -> None:
        """When nothing fails any more, all events arrive without intervention."""
        self.harness.accept_all()
        self.harness.retry_all()
        for _ in range(MAX_ROUNDS):
            if self.is_finished():
                break
            self.recover_once()
        assert self.is_finished()
        missing = set(range(1, len(self.captured) + 1)) - set(self.delivered_numbers())
        assert missing <= self.purged | self.discarded | self.undeliverable()
        self.lost_by_restore -= set(self.delivered_numbers())

    def recover_once(self) -> None:
        """Run one undisturbed round of delivery."""
        self.harness.push()

    def is_finished(self) -> bool:
        """Return whether no event is pending or waiting for a retry."""
        final = self.discarded | self.undeliverable()
        held = self.harness.held().items()
        return not any(
            is_pending or (is_dead and n not in final) for n, (is_pending, is_dead, _) in held
        )

    def undeliverable(self) -> set[int]:
        """Return the events that can never arrive, for a reason that is shown."""
        return self.harness.dead_letters("OVERTAKEN") | self.answers_of_discarded_sessions()

    def answers_of_discarded_sessions(self) -> set[int]:
        """Return the refused answers whose session was discarded: kept until discarded too."""
        there = {session_name(number) for number in self.delivered_numbers()}
        given_up = {session_name(number) for number in self.discarded} - there
        return {
            number
            for number, (is_pending, is_dead, has_address) in self.harness.held().items()
            if is_dead
            and not is_pending
            and (has_address or number in self.ever_delivered)
            and number not in self.discarded
            and self.captured[number - 1][0] in given_up
        }

    def delivered_numbers(self) -> list[int]:
        """Return the numbers of all events at central."""
        return [number_of(record) for record in self.harness.central.ledger.records]

    def records_in_order(self) -> list[Record]:
        """Return the records at central in their effective order."""
        return list(self.harness.central.ledger.records)


class BatchMachine(DeliveryMachine):
    """Head office orders events by sequence, and can be restored from a backup."""

    protocol = "batch"

    def records_in_order(self) -> list[Record]:
        return sorted(self.harness.central.ledger.records, key=lambda record: record.sequence or 0)

    @rule()
    def send_heartbeat(self) -> None:
        self.harness.send_heartbeat()

    @rule()
    def send_heartbeat_during_a_pass(self) -> None:
        self.harness.push_with_heartbeat()

    @rule()
    def back_up(self) -> None:
        self.backup = self.harness.central.backup()

    @precondition(lambda self: self.backup is not None)
    @rule()
    def restore(self) -> None:
        before = set(self.delivered_numbers())
        assert self.backup is not None
        self.harness.central.ledger = self.backup
        self.backup = self.harness.central.backup()
        lost = before - set(self.delivered_numbers())
        self.lost_by_restore |= lost
        self.purged |= lost - self.harness.held().keys()

    def recover_once(self) -> None:
        self.harness.send_heartbeat()
        self.harness.push()

    def is_finished(self) -> bool:
        there = set(self.delivered_numbers())
        given_up = self.discarded | self.answers_of_discarded_sessions()
        return super().is_finished() and self.lost_by_restore <= there | self.purged | given_up

    @invariant()
    def events_keep_their_sequence(self) -> None:
        for record in self.harness.central.ledger.records:
            assert (record.epoch, record.sequence) == ("epoch-1", number_of(record))


class ReplayMachine(DeliveryMachine):
    """A loyalty API that accepts repeats.

    It has no sequence numbers: after a crash between several answers of a session, the agent
    sends them again in order. Each counts where it arrived first, and the last must arrive last.
    """

    protocol = "replay"

    def __init__(self) -> None:
        super().__init__()
        self.has_crashed = False

    @rule(request=REQUESTS, served=st.booleans())
    def crash_during_a_pass(self, request: int, served: bool) -> None:  # noqa: FBT001 - drawn
        self.has_crashed = True
        super().crash_during_a_pass(request, served)

    def records_in_order(self) -> list[Record]:
        records = super().records_in_order()
        if not self.has_crashed:
            return records
        first: dict[int, Record] = {}
        for record in records:
            first.setdefault(number_of(record), record)
        return list(first.values())

    def delivered_numbers(self) -> list[int]:
        return [number_of(record) for record in self.records_in_order()]

    def last_answers(self) -> dict[str, int]:
        """Return the number of the effective answer by session."""
        return {
            name: number_of(answers[-1])
            for name, answers in self.harness.central.ledger.answers.items()
        }

    @rule()
    def recover(self) -> None:
        super().recover()
        for name, counts in self.last_answers().items():
            numbers = [n for n in self.delivered_numbers() if self.captured[n - 1] == (name, True)]
            assert counts == max(numbers), f"an earlier answer of {name} counts"


class StrictReplayMachine(DeliveryMachine):
    """A loyalty API that answers a repeat with an error."""

    protocol = "replay"

    def __init__(self) -> None:
        super().__init__()
        self.harness.central.conflicts = True


def number_of(record: Record) -> int:
    """Return the number of the capture."""
    number = record.document["n"]
    assert isinstance(number, int)
    return number


def session_name(number: int) -> str:
    """Return the name of the session captured under `number`."""
    return f"s{number}"


_few = settings(max_examples=12, stateful_step_count=25, deadline=None)
_many = settings(
    max_examples=400,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
BatchMachine.TestCase.settings = _few
ReplayMachine.TestCase.settings = _few
StrictReplayMachine.TestCase.settings = _few
TestBatch = BatchMachine.TestCase
TestReplay = ReplayMachine.TestCase
TestStrictReplay = StrictReplayMachine.TestCase


@pytest.mark.campaign
@pytest.mark.parametrize("kind", [BatchMachine, ReplayMachine, StrictReplayMachine])
def test_long_histories_lose_nothing(kind: type[DeliveryMachine]) -> None:
    run_state_machine_as_test(kind, settings=_many)
