"""Random histories from till to head office: no event is lost or duplicated.

Steps: captures, passes under faults, cancelled passes, crashes during a pass, a head office
restored from a backup or refusing events, decisions about dead letters, erasing, purging, and
clock steps. Each capture carries a number that identifies it everywhere.

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
from tests.model.office import Office, numbered_answer, numbered_session
from tests.support.central import Fault, faults
from tests.support.central.ledger import Ledger, Record

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
MOST_ROUNDS = 20


class DeliveryMachine(RuleBasedStateMachine):
    """History of one machine; the invariants are checked after each step and at the end."""

    protocol = ""

    def __init__(self) -> None:
        super().__init__()
        self.office = Office(self.protocol)
        self.captured: list[tuple[str, bool]] = []
        self.discarded: set[int] = set()
        self.ever_there: set[int] = set()
        self.gone: set[int] = set()
        self.fell_back: set[int] = set()
        self.backup: Ledger | None = None

    def teardown(self) -> None:
        self.office.close()

    # Tills.

    @rule()
    def capture_session(self) -> None:
        number = len(self.captured) + 1
        self.office.capture(numbered_session(f"s{number}", number))
        self.captured.append((f"s{number}", False))

    @precondition(lambda self: self.captured)
    @rule(which=CHOICES)
    def capture_answer(self, which: int) -> None:
        names = [name for name, is_answer in self.captured if not is_answer]
        alive = [name for name in names if int(name[1:]) not in self.gone]
        if alive:
            name, number = alive[which % len(alive)], len(self.captured) + 1
            self.office.capture(numbered_answer(name, number))
            self.captured.append((name, True))

    # Passes.

    @rule(met=st.lists(st.sampled_from(sorted(FAULTS)), max_size=4), probing=st.booleans())
    def push(self, met: list[str], probing: bool) -> None:  # noqa: FBT001 - drawn
        self.office.central.script(*(FAULTS[name] for name in met))
        self.office.push(probing=probing)
        self.office.central.clear_script()

    @rule()
    def push_without_a_line(self) -> None:
        self.office.line.is_cut = True
        self.office.push()
        self.office.line.is_cut = False

    @rule(request=REQUESTS, served=st.booleans())
    def cut_a_pass_off(self, request: int, served: bool) -> None:  # noqa: FBT001 - drawn
        self.office.push_and_cancel(request, served=served)

    @rule(request=REQUESTS, served=st.booleans())
    def crash_in_mid_pass(self, request: int, served: bool) -> None:  # noqa: FBT001 - drawn
        self.office.crash_while_pushing(request, served=served)

    @rule()
    def start_anew(self) -> None:
        self.office.start_anew()

    # Head office.

    @precondition(lambda self: self.captured)
    @rule(which=CHOICES, kind=st.sampled_from([None, *EventType]))
    def refuse(self, which: int, kind: EventType | None) -> None:
        name, _ = self.captured[which % len(self.captured)]
        self.office.central.refuse(name, kind)

    @rule()
    def accept_all(self) -> None:
        self.office.central.accept_all()

    # Store IT, housekeeping and time.

    @rule(which=CHOICES, discarding=st.booleans())
    def decide(self, which: int, discarding: bool) -> None:  # noqa: FBT001 - drawn
        sequence = self.office.decide(which, discarding=discarding)
        if sequence is not None and discarding:
            self.discarded.add(sequence)

    @rule()
    def retry_all(self) -> None:
        self.office.retry_all()

    @rule()
    def erase(self) -> None:
        self.office.erase()
        for number, (waits, is_dead, has_address) in self.office.held().items():
            assert not has_address or waits or is_dead, f"the address of {number} is left"

    @rule()
    def purge(self) -> None:
        before = self.office.held().keys()
        self.office.clock.pass_seconds(1)
        self.office.purge()
        gone = before - self.office.held().keys()
        assert gone <= self.ever_there | self.discarded
        self.gone |= gone

    @rule(seconds=st.sampled_from([-(10**9), -3600, 1, 3600, 10**9]))
    def step_the_clock(self, seconds: int) -> None:
        self.office.clock.pass_seconds(seconds)

    # Invariants.

    @invariant()
    def all_that_was_acknowledged_is_somewhere(self) -> None:
        there = set(self.numbers_there())
        self.ever_there |= there
        held = self.office.held()
        kept = {number for number, (waits, is_dead, _) in held.items() if waits or is_dead}
        everything = set(range(1, len(self.captured) + 1))
        assert everything == there | kept | self.gone | (self.fell_back & held.keys())

    @invariant()
    def nothing_is_there_twice(self) -> None:
        numbers = self.numbers_there()
        assert len(numbers) == len(set(numbers))

    @invariant()
    def each_session_has_its_captures_in_order(self) -> None:
        of_session: dict[str, list[int]] = {}
        for record in self.records_in_order():
            of_session.setdefault(record.correlation_id, []).append(number_of(record))
        for numbers in of_session.values():
            assert numbers == sorted(numbers)

    @invariant()
    def what_was_never_there_still_has_its_address(self) -> None:
        for number, (_, _, has_address) in self.office.held().items():
            _, is_answer = self.captured[number - 1]
            if is_answer and number not in self.ever_there | self.discarded:
                assert has_address, f"the address of {number} was erased too early"

    @rule()
    def all_heals(self) -> None:
        """When nothing fails any more, all events arrive without intervention."""
        self.office.central.accept_all()
        self.office.retry_all()
        for _ in range(MOST_ROUNDS):
            if self.is_whole():
                break
            self.heal_once()
        assert self.is_whole()
        missing = set(range(1, len(self.captured) + 1)) - set(self.numbers_there())
        assert missing <= self.gone | self.discarded | self.beyond_repair()
        self.fell_back -= set(self.numbers_there())

    def heal_once(self) -> None:
        """Run one undisturbed round of delivery."""
        self.office.push()

    def is_whole(self) -> bool:
        """Return whether no event is pending or waiting for a retry."""
        final = self.discarded | self.beyond_repair()
        held = self.office.held().items()
        return not any(waits or (is_dead and n not in final) for n, (waits, is_dead, _) in held)

    def beyond_repair(self) -> set[int]:
        """Return the events that can never arrive, for a reason that is shown."""
        return self.office.dead_letters("OVERTAKEN") | self.answers_without_a_session()

    def answers_without_a_session(self) -> set[int]:
        """Return the refused answers whose session was discarded: kept until discarded too."""
        there = {name_of(number) for number in self.numbers_there()}
        given_up = {name_of(number) for number in self.discarded} - there
        return {
            number
            for number, (waits, is_dead, has_address) in self.office.held().items()
            if is_dead
            and not waits
            and (has_address or number in self.ever_there)
            and number not in self.discarded
            and self.captured[number - 1][0] in given_up
        }

    def numbers_there(self) -> list[int]:
        """Return the numbers of all events at central."""
        return [number_of(record) for record in self.office.central.ledger.records]

    def records_in_order(self) -> list[Record]:
        """Return the records at central in their effective order."""
        return list(self.office.central.ledger.records)


class BatchMachine(DeliveryMachine):
    """Head office orders events by sequence, and can be restored from a backup."""

    protocol = "batch"

    def records_in_order(self) -> list[Record]:
        return sorted(self.office.central.ledger.records, key=lambda record: record.sequence or 0)

    @rule()
    def send_heartbeat(self) -> None:
        self.office.send_heartbeat()

    @rule()
    def send_heartbeat_during_a_pass(self) -> None:
        self.office.push_with_heartbeat()

    @rule()
    def back_up(self) -> None:
        self.backup = self.office.central.backup()

    @precondition(lambda self: self.backup is not None)
    @rule()
    def restore(self) -> None:
        before = set(self.numbers_there())
        assert self.backup is not None
        self.office.central.ledger = self.backup
        self.backup = self.office.central.backup()
        lost = before - set(self.numbers_there())
        self.fell_back |= lost
        self.gone |= lost - self.office.held().keys()

    def heal_once(self) -> None:
        self.office.send_heartbeat()
        self.office.push()

    def is_whole(self) -> bool:
        there = set(self.numbers_there())
        given_up = self.discarded | self.answers_without_a_session()
        return super().is_whole() and self.fell_back <= there | self.gone | given_up

    @invariant()
    def an_event_keeps_its_number(self) -> None:
        for record in self.office.central.ledger.records:
            assert (record.epoch, record.sequence) == ("epoch-1", number_of(record))


class ReplayMachine(DeliveryMachine):
    """A loyalty API that accepts repeats.

    It has no sequence numbers: after a crash between several answers of a session, the agent
    sends them again in order. Each counts where it arrived first, and the last must arrive last.
    """

    protocol = "replay"

    def __init__(self) -> None:
        super().__init__()
        self.was_killed = False

    @rule(request=REQUESTS, served=st.booleans())
    def crash_in_mid_pass(self, request: int, served: bool) -> None:  # noqa: FBT001 - drawn
        self.was_killed = True
        super().crash_in_mid_pass(request, served)

    def records_in_order(self) -> list[Record]:
        records = super().records_in_order()
        if not self.was_killed:
            return records
        first: dict[int, Record] = {}
        for record in records:
            first.setdefault(number_of(record), record)
        return list(first.values())

    def numbers_there(self) -> list[int]:
        return [number_of(record) for record in self.records_in_order()]

    def last_answers(self) -> dict[str, int]:
        """Return the number of the effective answer by session."""
        return {
            name: number_of(answers[-1])
            for name, answers in self.office.central.ledger.answers.items()
        }

    @rule()
    def all_heals(self) -> None:
        super().all_heals()
        for name, counts in self.last_answers().items():
            numbers = [n for n in self.numbers_there() if self.captured[n - 1] == (name, True)]
            assert counts == max(numbers), f"an earlier answer of {name} counts"


class StrictReplayMachine(DeliveryMachine):
    """A loyalty API that answers a repeat with an error."""

    protocol = "replay"

    def __init__(self) -> None:
        super().__init__()
        self.office.central.conflicts = True


def number_of(record: Record) -> int:
    """Return the number of the capture."""
    number = record.document["n"]
    assert isinstance(number, int)
    return number


def name_of(number: int) -> str:
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
