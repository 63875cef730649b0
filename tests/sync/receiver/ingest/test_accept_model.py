"""Model test, random histories of two tills: each number is accounted for exactly once."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sync.protocol.wire import ErrorCode
from sync.receiver.ingest.events import AnswerEvent, Event, InvalidEvent, SessionEvent
from sync.receiver.ingest.ledger_state import ADDRESS_ERASED, AcceptedBatch
from sync.receiver.ingest.placement import SequenceGap
from tests.support.models.ledger import Epoch, Key, ReferenceLedger, refused_sessions
from tests.sync.receiver.ingest.event_builders import (
    AT,
    answer,
    bad_session,
    codes,
    session,
    unknown,
)

pytestmark = pytest.mark.slow

CHOICES = st.integers(0, 10**6)
TILLS = st.sampled_from(["till-1", "till-2"])
NAMES = st.sampled_from("abcdefgh")
# Per capture of a visit (session, then answers): True if valid.
VISITS = st.lists(st.sampled_from([True, True, True, False]), min_size=1, max_size=4)


@dataclass
class Captured:
    """A capture on a POS machine. While `is_invalid`, head office rejects it as invalid."""

    fact: SessionEvent | AnswerEvent
    invalid: InvalidEvent
    is_invalid: bool
    is_erased: bool = False

    def event(self, sequence: int) -> Event:
        """Return the event as sent under a number."""
        if self.is_invalid:
            return msgspec.structs.replace(self.invalid, sequence=sequence)
        if self.is_erased and isinstance(self.fact, AnswerEvent):
            return msgspec.structs.replace(
                self.fact, sequence=sequence, email_address=None, address_erased=True
            )
        return msgspec.structs.replace(self.fact, sequence=sequence)


def is_same_capture(event: Event, other: Event) -> bool:
    """Return whether two events are the same capture. Bodies are compared as text here."""
    if isinstance(event, AnswerEvent) and isinstance(other, AnswerEvent):
        is_hidden = event.address_erased or other.address_erased
        return event.body == other.body and (
            is_hidden or event.email_address == other.email_address
        )
    same_kind = isinstance(event, SessionEvent) and isinstance(other, SessionEvent)
    return same_kind and msgspec.structs.replace(event, sequence=other.sequence) == other


def is_repeat(event: Event, other: Event) -> bool:
    """Return whether two events are one session, started at two times."""
    if not (isinstance(event, SessionEvent) and isinstance(other, SessionEvent)):
        return False
    return is_same_capture(event, msgspec.structs.replace(other, occurred_at=event.occurred_at))


class AcceptMachine(RuleBasedStateMachine):
    """Tills capture, agents send any part of it, head office accepts or rejects."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = ReferenceLedger()
        self.backup = self.ledger.copy()
        self.captured: dict[Key, list[Captured]] = {}
        self.current = {till: self.begin_epoch(till) for till in ("till-1", "till-2")}
        self.names: dict[str, set[str]] = {"till-1": set(), "till-2": set()}
        self.count = 0

    def begin_epoch(self, till: str, captures: Sequence[Captured] = ()) -> Key:
        """Start a new epoch."""
        key = (till, f"epoch-{len(self.captured) + 1}")
        self.captured[key] = list(captures)
        return key

    # Events at the tills.

    @initialize(visits=st.lists(st.tuples(TILLS, NAMES, VISITS), min_size=4, max_size=8))
    def first_visits(self, visits: list[tuple[str, str, list[bool]]]) -> None:
        for till, name, fits in visits:
            self.visit(till, name, fits)

    @rule(till=TILLS, name=NAMES, fits=VISITS)
    def visit(self, till: str, name: str, fits: list[bool]) -> None:
        """Capture a session and some answers; some of them are invalid."""
        here = self.captured[self.current[till]]
        if name in self.names[till]:
            return
        self.names[till].add(name)
        at = AT + timedelta(seconds=len(self.names[till]))
        fact = session(0, name, at=at, channel=till)
        here.append(Captured(fact, bad_session(0, name), is_invalid=not fits[0]))
        for is_fit in fits[1:]:
            note = str(self.next())
            fact_ = answer(0, name, note=note)
            here.append(Captured(fact_, unknown(0, name), is_invalid=not is_fit))

    @rule(till=TILLS, index=CHOICES)
    def repeat_session(self, till: str, index: int) -> None:
        """Start a session again at an agent that has forgotten it, and answer it."""
        captured = [
            one.fact
            for key, here in self.captured.items()
            for one in here
            if key[0] == till and isinstance(one.fact, SessionEvent)
        ]
        if not captured:
            return
        fact = captured[index % len(captured)]
        at = fact.occurred_at + timedelta(days=self.next())
        again = msgspec.structs.replace(fact, occurred_at=at)
        here, name = self.captured[self.current[till]], fact.correlation_id
        if any(one.fact.correlation_id == name for one in here):
            return
        here.append(Captured(again, bad_session(0, name), is_invalid=False))
        fact_ = answer(0, name, note=str(self.next()))
        here.append(Captured(fact_, unknown(0, name), is_invalid=False))

    # Events at the machines.

    @rule(index=CHOICES)
    def upgrade_head_office(self, index: int) -> None:
        """Make an invalid event valid, as a new version of head office can."""
        captured = [captured for here in self.captured.values() for captured in here]
        invalid = [one for one in captured if one.is_invalid]
        if invalid:
            invalid[index % len(invalid)].is_invalid = False

    @rule(till=TILLS)
    def erase_addresses(self, till: str) -> None:
        key = self.current[till]
        for captured in self.captured[key][: self.epoch(key).accepted_through]:
            captured.is_erased = True

    @rule()
    def find_addresses_again(self) -> None:
        """Restore erased addresses, as a support bundle imported later does."""
        for here in self.captured.values():
            for captured in here:
                captured.is_erased = False

    @precondition(lambda self: len(self.captured) < 6)
    @rule(till=TILLS, after=st.integers(0, 4))
    def start_epoch(self, till: str, after: int) -> None:
        """Start a new epoch with some of the captures, including delivered ones."""
        here = self.captured[self.current[till]]
        self.current[till] = self.begin_epoch(till, here[after:])

    @rule()
    def back_up_head_office(self) -> None:
        self.backup = self.ledger.copy()

    @rule()
    def restore_head_office(self) -> None:
        self.ledger = self.backup.copy()

    # Batches from agents.

    @rule(
        index=CHOICES, first=CHOICES, count=st.integers(1, 8), altered=st.none() | st.integers(0, 7)
    )
    def send_some(self, index: int, first: int, count: int, altered: int | None) -> None:
        """Send any part of any epoch: stored, missing or requested events."""
        key = [*self.captured, *self.current.values()][index % (len(self.captured) + 2)]
        events = self.events(key)
        begin = first % (self.epoch(key).accepted_through + 2)
        self.deliver(key, self.altering(key, events[begin : begin + count], altered), 1)

    @rule(till=TILLS, lost=st.integers(1, 4), skipped=st.integers(0, 1))
    def send_after_loss(self, till: str, lost: int, skipped: int) -> None:
        """Send the events after captures that the machine lost."""
        key = self.current[till]
        base = self.epoch(key).accepted_through + 1 + lost
        self.deliver(key, self.events(key)[base - 1 + skipped :], base)

    @rule(till=TILLS, from_the_start=st.booleans())
    def send_all(self, till: str, from_the_start: bool) -> None:  # noqa: FBT001 - drawn
        key = self.current[till]
        sent = 0 if from_the_start else self.epoch(key).accepted_through
        self.deliver(key, self.events(key)[sent:] or self.events(key), 1)

    def deliver(self, key: Key, batch: Sequence[Event], base: int) -> None:
        """Send a batch; compare the response with the model's prediction."""
        before, through = self.ledger.copy(), self.epoch(key).accepted_through
        known = set(self.epoch(key).stored) | set(self.epoch(key).duplicates)
        altered = {event.sequence for event in batch if self.is_altered(key, event)}
        accepted = self.ledger.take(key, batch, base)

        new = [event.sequence for event in batch if event.sequence > through]
        if new and new[0] > through + 1 and base <= new[0] - 1:
            assert accepted == SequenceGap(max(base, through + 1))
            assert self.ledger.epochs[key] == before.epochs.get(key, Epoch())
            return
        assert isinstance(accepted, AcceptedBatch)
        assert accepted.accepted_through == max([through, *new])
        assert codes(accepted) == {
            event.sequence: code
            for event in batch
            if (code := self.code_of(key, event, known, altered)) is not None
        }
        self.check_each(key, batch, altered)
        self.check_resend(key, batch, base, accepted)
        self.check_in_parts(key, batch, base, before)

    def check_each(self, key: Key, batch: Sequence[Event], altered: set[int]) -> None:
        """Check that each event is stored in its place, independent of its neighbours."""
        epoch = self.epoch(key)
        for event in batch:
            number = event.sequence
            if number in altered:
                assert number not in epoch.rejected
            elif isinstance(event, InvalidEvent):
                assert number in epoch.rejected or number in epoch.stored
            elif number in epoch.stored:
                assert is_same_capture(event, epoch.stored[number])
                self.check_address(event, epoch)
            elif number in epoch.duplicates:
                assert any(
                    is_same_capture(event, fact) or (till == key[0] and is_repeat(event, fact))
                    for (till, _), fact in self.ledger.facts()
                )
            else:
                assert number in epoch.rejected

    def check_address(self, event: Event, epoch: Epoch) -> None:
        """Check that a received address is stored and a missing one has a gap."""
        stored = epoch.stored[event.sequence]
        if isinstance(event, AnswerEvent) and isinstance(stored, AnswerEvent):
            noted = [gap for gap in epoch.gaps if gap.first <= event.sequence <= gap.last]
            assert [gap.reason for gap in noted] == [ADDRESS_ERASED] * (
                stored.email_address is None
            )
            assert event.address_erased or stored.email_address == event.email_address

    def check_resend(
        self, key: Key, batch: Sequence[Event], base: int, accepted: AcceptedBatch
    ) -> None:
        """Check idempotence: a resend gets the same response and changes nothing."""
        ledger = self.ledger.copy()
        again = ledger.take(key, batch, base)
        assert codes(again) == codes(accepted)
        assert ledger.epochs == self.ledger.epochs

    def check_in_parts(
        self, key: Key, batch: Sequence[Event], base: int, ledger: ReferenceLedger
    ) -> None:
        """Check that two batches have the same effect as one."""
        middle = len(batch) // 2
        for part in (batch[:middle], batch[middle:]):
            assert isinstance(ledger.take(key, part, base), AcceptedBatch)
        assert ledger.epochs == self.ledger.epochs

    # Invariants.

    @invariant()
    def each_number_is_accounted_for_exactly_once(self) -> None:
        for epoch in self.ledger.epochs.values():
            numbers = range(1, epoch.accepted_through + 1)
            assert [epoch.times_accounted(number) for number in numbers] == [1] * len(numbers)
            beyond = [
                *epoch.stored,
                *epoch.rejected,
                *epoch.duplicates,
                *(g.last for g in epoch.gaps),
            ]
            assert max(beyond, default=0) <= epoch.accepted_through

    @invariant()
    def nothing_takes_effect_twice(self) -> None:
        facts = [fact for _, fact in self.ledger.facts()]
        sessions = [
            (till, fact.correlation_id)
            for (till, _), fact in self.ledger.facts()
            if isinstance(fact, SessionEvent)
        ]
        answers = [fact.body for fact in facts if isinstance(fact, AnswerEvent)]
        assert len(sessions) == len(set(sessions))
        assert len(answers) == len(set(answers))

    # Queries.

    def next(self) -> int:
        """Return a fresh number."""
        self.count += 1
        return self.count

    def epoch(self, key: Key) -> Epoch:
        """Return head office's state of an epoch."""
        return self.ledger.epochs.get(key, Epoch())

    def events(self, key: Key) -> list[Event]:
        """Return all events of an epoch on the agent."""
        return [captured.event(n) for n, captured in enumerate(self.captured[key], start=1)]

    def altering(self, key: Key, batch: list[Event], index: int | None) -> list[Event]:
        """Replace the content of a stored number."""
        known = self.epoch(key).stored.keys() | self.epoch(key).duplicates.keys()
        places = [place for place, event in enumerate(batch) if event.sequence in known]
        if index is None or not places:
            return batch
        place = places[index % len(places)]
        return [*batch[:place], session(batch[place].sequence, "altered"), *batch[place + 1 :]]

    def is_altered(self, key: Key, event: Event) -> bool:
        """Return whether an event differs from the one stored under its number."""
        epoch = self.epoch(key)
        if event.sequence in epoch.duplicates:
            facts = [fact for _, fact in self.ledger.facts()]
            return isinstance(event, InvalidEvent) or not any(
                is_same_capture(event, fact) or is_repeat(event, fact) for fact in facts
            )
        stored = epoch.stored.get(event.sequence)
        return stored is not None and not is_same_capture(event, stored)

    def code_of(
        self, key: Key, event: Event, known: set[int], altered: set[int]
    ) -> ErrorCode | None:
        """Return the expected error code of an event, after its batch was applied."""
        if event.sequence in altered:
            return ErrorCode.ALTERED
        if event.sequence in known:
            return None
        match event:
            case InvalidEvent():
                return ErrorCode(event.error_code)
            case SessionEvent():
                # Of its own till another one, and of no till the same.
                others = self.sessions(event)
                is_known = any(
                    is_same_capture(event, other) or (till == key[0] and is_repeat(event, other))
                    for till, other in others
                )
                is_taken = any(till == key[0] for till, _ in others)
                return ErrorCode.INVALID_REQUEST if is_taken and not is_known else None
            case AnswerEvent():
                if self.has_no_session(key, event):
                    return ErrorCode.SESSION_REFUSED
                return ErrorCode.FOREIGN_SESSION if self.is_foreign(key, event) else None

    def sessions(self, event: Event) -> list[tuple[str, SessionEvent]]:
        """Return the sessions stored under the event's correlation id, with their tills."""
        return [
            (till, fact)
            for (till, _), fact in self.ledger.facts()
            if isinstance(fact, SessionEvent) and fact.correlation_id == event.correlation_id
        ]

    def is_foreign(self, key: Key, event: AnswerEvent) -> bool:
        """Return whether other tills alone have the session, and this one sent no duplicate."""
        tills = {till for till, _ in self.sessions(event)}
        has_duplicate = any(
            isinstance(fact, SessionEvent) and fact.correlation_id == event.correlation_id
            for (till, _), epoch in self.ledger.epochs.items()
            for fact in epoch.duplicates.values()
            if till == key[0]
        )
        return bool(tills) and key[0] not in tills and not has_duplicate

    def has_no_session(self, key: Key, event: AnswerEvent) -> bool:
        """Return whether the till's session under the answer's id was rejected."""
        refused = {
            of: event.correlation_id in refused_sessions(epoch)
            for of, epoch in self.ledger.epochs.items()
            if of[0] == key[0]
        }
        stands = any(
            of[0] == key[0]
            for of, fact in self.ledger.facts()
            if isinstance(fact, SessionEvent) and fact.correlation_id == event.correlation_id
        )
        return refused.get(key, False) or (any(refused.values()) and not stands)


AcceptMachine.TestCase.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
TestAccept = AcceptMachine.TestCase
