"""Random histories of the outbox, compared with a small model: nothing lost or duplicated."""

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agent.facts import EmailAnswered, EmailStatus, Receipt
from agent.store.queries.reader import StoreReader
from agent.store.retention.retention import RetentionDays
from sync.delivery.outbox import BatchLimits, EventResult, OutboxEvent, Window
from sync.delivery.outcomes import Delivered, Refused, Verdict
from sync.protocol.wire import ErrorCode
from tests.support.agent.outbox import OutboxRig, start_outbox
from tests.support.agent.store import EpochIds, crashed_copy, opener, query, session
from tests.support.clocks import WallClock
from tests.support.models.outbox import ModelEvent, OutboxModel

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")
NO_RETENTION = RetentionDays(delivered_days=0, email_days=0)
DOUBTFUL, NOT_SENT = "doubtful", "not tried"
VERDICTS = st.sampled_from(
    [
        Delivered(),
        Delivered(assumed=True),
        Refused("CODE", "a reason", 400),
        Refused(ErrorCode.SESSION_REFUSED, "its session was refused", None),
        DOUBTFUL,
        NOT_SENT,
    ]
)
SIZES = st.integers(1, 6)
CHOICES = st.integers(0, 10**6)


class OutboxMachine(RuleBasedStateMachine):
    """Applies each step to the outbox and to the model, and compares the two."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.place = Path(tempfile.mkdtemp(prefix="outbox-model-"))
        self.epochs, self.clock, self.model = EpochIds(), WallClock(), OutboxModel()
        self.names, self.starts, self.renumberings = 0, 0, 1
        self.positions_of: dict[Receipt, int] = {}
        self.directory = self.place / "start"
        self.rig = self.run(self.start())

    async def start(self) -> OutboxRig:
        """Start the outbox on the present files of the directory."""
        opening = opener(self.directory, epochs=self.epochs)
        rig = start_outbox(self.directory, opening, self.clock, NO_RETENTION)
        await rig.writer.check(30)
        return rig

    def run(self, work: "Coroutine[None, None, T]") -> T:
        """Run a coroutine to completion."""
        return self.runner.run(work)

    def teardown(self) -> None:
        """Close the writer and delete the files."""
        self.run(self.rig.writer.close())
        self.runner.close()
        shutil.rmtree(self.place)

    @initialize(pairs=st.integers(0, 3))
    def begin_with_captures(self, pairs: int) -> None:
        for _ in range(pairs):
            self.capture_session()
            self.capture_answer(index=0)

    # Steps of the tills.

    @rule()
    def capture_session(self) -> None:
        self.names += 1
        name = f"s{self.names}"
        expected = self.model.capture(name, None, None)
        assert self.run(self.rig.capture(session(name))) == [str(expected)]

    @precondition(lambda self: self.model.held)
    @rule(index=CHOICES)
    def capture_answer(self, index: int) -> None:
        self.names += 1
        started = self.model.held[self.pick(index).session]
        address = f"guest{self.names}@example.com"
        answered = EmailAnswered(
            started.name, EmailStatus.ACCEPTED, address, b'{"status":"accepted"}'
        )
        expected = self.model.capture(started.name, started.position, address)
        assert self.run(self.rig.capture(answered)) == [str(expected)]

    # Steps of the delivery passes.

    @rule(size=SIZES, after=st.one_of(st.just(0), CHOICES), is_retry=st.booleans())
    def interrupt_attempt(self, size: int, after: int, is_retry: bool) -> None:  # noqa: FBT001 - drawn
        window = self.window(size, after, is_retry=is_retry)
        if window.events:
            self.run(self.rig.outbox.record_attempt(window))
            self.model.attempt([self.model.held[event.position] for event in window.events])

    @rule(
        size=SIZES,
        after=st.one_of(st.just(0), CHOICES),
        is_retry=st.booleans(),
        noted=st.booleans(),
        data=st.data(),
    )
    def attempt_and_settle(
        self,
        size: int,
        after: int,
        is_retry: bool,  # noqa: FBT001 - drawn
        noted: bool,  # noqa: FBT001 - drawn
        data: st.DataObject,
    ) -> None:
        window = self.window(size, after, is_retry=is_retry)
        if noted and window.events:
            self.run(self.rig.outbox.record_attempt(window))
            self.model.attempt([self.model.held[event.position] for event in window.events])
        outcomes = [(event, data.draw(VERDICTS)) for event in window.events]
        judged = [EventResult(event, said) for event, said in outcomes if isinstance(said, Verdict)]
        doubtful = [event for event, said in outcomes if said == DOUBTFUL]
        self.run(self.rig.outbox.settle(window, judged, doubtful))
        verdicts = {one.event.position: one.verdict for one in judged}
        self.model.settle(window, verdicts, [event.position for event in doubtful])

    @rule(index=CHOICES, expected=st.integers(0, 12))
    def rewind(self, index: int, expected: int) -> None:
        epoch = list(self.model.bases)[index % len(self.model.bases)]
        assert self.run(self.rig.outbox.rewind(epoch, expected)) == self.model.rewind(
            epoch, expected
        )

    @precondition(lambda self: self.renumberings < 5)
    @rule(index=CHOICES, after=st.integers(0, 12))
    def renumber(self, index: int, after: int) -> None:
        epoch = list(self.model.bases)[index % len(self.model.bases)]
        self.run(self.rig.outbox.renumber(epoch, after))
        before = len(self.model.bases)
        self.model.renumber(epoch, after, f"epoch-{self.renumberings + 1}")
        self.renumberings += len(self.model.bases) - before

    @precondition(lambda self: self.model.held)
    @rule(index=CHOICES)
    def retry_delivered(self, index: int) -> None:
        kept = self.pick(index)
        receipt, letters = self.model.receipts[kept.position], self.rig.outbox.dead_letters
        taken = self.run(letters.retry_delivered(receipt.epoch, [receipt.sequence]))
        assert taken == self.model.retry_delivered(kept)

    # Steps of store IT and of the upkeep.

    @precondition(lambda self: self.model.held)
    @rule(index=CHOICES, discarding=st.booleans())
    def decide(self, index: int, discarding: bool) -> None:  # noqa: FBT001 - drawn
        dead = [kept for kept in self.model.held.values() if kept.dead is not None]
        kept = dead[index % len(dead)] if dead else self.pick(index)
        receipt, letters = self.model.receipts[kept.position], self.rig.outbox.dead_letters
        decide = letters.discard if discarding else letters.retry
        expected = self.model.discard(kept) if discarding else self.model.retry(kept)
        assert self.run(decide(receipt.epoch, receipt.sequence)) == expected

    @rule()
    def erase(self) -> None:
        while self.run(self.rig.outbox.retention.erase_once()):
            pass
        self.model.erase()

    @rule()
    def purge(self) -> None:
        while self.run(self.rig.outbox.retention.purge_once()):
            pass
        self.model.purge()

    @rule(crashing=st.booleans())
    def restart(self, crashing: bool) -> None:  # noqa: FBT001 - drawn
        if crashing:
            self.starts += 1
            self.directory = crashed_copy(self.directory, self.place / str(self.starts))
        self.run(self.rig.writer.close())
        self.rig = self.run(self.start())

    # Invariants, checked after each step.

    @invariant()
    def windows_hold_exactly_the_pending_events_in_order(self) -> None:
        self.compare(self.all_events(is_retry=False), self.model.pending(), is_retry=False)
        self.compare(self.all_events(is_retry=True), self.model.retries(), is_retry=True)

    @invariant()
    def receipts_are_unique(self) -> None:
        for position, receipt in self.model.receipts.items():
            assert self.positions_of.setdefault(receipt, position) == position

    @invariant()
    def cursor_and_counts_match(self) -> None:
        rows = query(self.directory, "SELECT watermark, purged_through FROM destination")
        watermark, purged_through = rows[0] if rows else (0, 0)
        assert (watermark, purged_through) == (self.model.watermark, self.model.purged_through)
        status = StoreReader(self.directory).status()
        assert status.waiting == len(self.model.pending())
        dead = [kept for kept in self.model.held.values() if kept.dead == "open"]
        assert status.dead_letters == len(dead)

    @invariant()
    def session_states_match(self) -> None:
        reader, held = StoreReader(self.directory), self.model.held
        for kept in [kept for kept in held.values() if not kept.is_answer][-3:]:
            of_session = [k for _, k in sorted(held.items()) if k.session == kept.position]
            assert [(c.receipt, c.state) for c in reader.session(kept.name)] == [
                (self.model.receipts[k.position], k.state) for k in of_session
            ]

    @invariant()
    def attempts_match(self) -> None:
        rows = query(self.directory, "SELECT position, attempts FROM dead_letter ORDER BY position")
        held = sorted(self.model.held.items())
        assert rows == [(p, k.attempts) for p, k in held if k.dead is not None]

    # Helpers.

    def pick(self, index: int) -> ModelEvent:
        """Return one of the held events."""
        return list(self.model.held.values())[index % len(self.model.held)]

    def window(self, size: int, after: int, *, is_retry: bool) -> Window:
        """Read a window from anywhere in the held events."""
        outbox = self.rig.outbox
        read = outbox.next_retry_window if is_retry else outbox.next_window
        above = after % (self.model.last_position + 1)
        return self.run(read(BatchLimits(size, 2**30), after=above))

    def all_events(self, *, is_retry: bool) -> list[tuple[Receipt, OutboxEvent]]:
        """Read windows until there are no more events."""
        found: list[tuple[Receipt, OutboxEvent]] = []
        read = self.rig.outbox.next_retry_window if is_retry else self.rig.outbox.next_window
        while True:
            after = found[-1][1].position if found else 0
            window = self.run(read(BatchLimits(1000, 2**30), after=after))
            if not window.events:
                return found
            found += [(Receipt(window.epoch, e.sequence), e) for e in window.events]

    def compare(
        self,
        found: list[tuple[Receipt, OutboxEvent]],
        expected: list[ModelEvent],
        *,
        is_retry: bool,
    ) -> None:
        """Compare each event read with the model's."""
        assert [event.position for _, event in found] == [kept.position for kept in expected]
        for (receipt, event), kept in zip(found, expected, strict=True):
            assert receipt == self.model.receipts[kept.position]
            assert (event.session, event.correlation_id) == (kept.session, kept.name)
            assert (event.body, event.is_erased) == (kept.body, b"erased" in kept.body)
            assert event.is_doubtful == self.model.is_doubtful(kept, is_retry=is_retry)
            assert event.is_overtaken == self.model.is_overtaken(kept, is_retry=is_retry)
            assert event.session_refused == self.model.session_refused(kept, is_retry=is_retry)
            assert event.refusal == (kept.refusal if is_retry else None)


OutboxMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestOutbox = OutboxMachine.TestCase
