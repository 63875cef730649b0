"""Model of the outbox in dictionaries, compared with the real one."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from agent.facts import DeliveryState, Receipt
from agent.store.outbox.dead_letter_queue import STANDS_REFUSED
from agent.store.outbox.rewind import SENT_AGAIN
from sync.delivery.outbox import Window
from sync.delivery.outcomes import Deferred, Delivered, Refused, Verdict


@dataclass
class ModelEvent:
    """An event in the model. `session` is its own position for a session start."""

    position: int
    session: int
    name: str
    address: str | None
    is_settled: bool = False
    is_erased: bool = False
    in_doubt: bool = False
    dead: str | None = None
    refusal: Refused | None = None
    attempts: int = 0
    retry_wanted: bool = False
    is_deferred: bool = False

    @property
    def is_answer(self) -> bool:
        """True for an e-mail answer."""
        return self.session != self.position

    @property
    def state(self) -> DeliveryState:
        """The state that a till sees."""
        if self.dead is not None:
            return DeliveryState.REFUSED
        is_delivered = self.is_settled and not self.is_deferred
        return DeliveryState.DELIVERED if is_delivered else DeliveryState.WAITING

    @property
    def body(self) -> bytes:
        """The body to be sent."""
        if not self.is_answer:
            return b'{"correlationId":"%b"}' % self.name.encode()
        address = b'"%b"' % self.address.encode() if self.address and not self.is_erased else None
        member = b'null,"erased":true' if address is None else address
        return b'{"emailAddress":%b,"status":"accepted"}' % member


@dataclass
class OutboxModel:
    """All events ever captured, by position, and their receipts."""

    held: dict[int, ModelEvent] = field(default_factory=dict)
    receipts: dict[int, Receipt] = field(default_factory=dict)
    bases: dict[str, int] = field(default_factory=lambda: {"epoch-1": 0})
    current: str = "epoch-1"
    in_flight: range = range(0)
    purged_through: int = 0

    @property
    def last_position(self) -> int:
        """The highest position ever issued."""
        return max(self.receipts, default=0)

    @property
    def watermark(self) -> int:
        """All events up to this position are settled."""
        pending = (event.position for event in self.held.values() if not event.is_settled)
        return min(pending, default=self.last_position + 1) - 1

    def capture(self, name: str, session: int | None, address: str | None) -> Receipt:
        """Add an event; return its receipt."""
        position = self.last_position + 1
        self.held[position] = ModelEvent(position, session or position, name, address)
        receipt = Receipt(self.current, position - self.bases[self.current])
        self.receipts[position] = receipt
        return receipt

    def pending(self) -> list[ModelEvent]:
        """Return the pending events in order."""
        return [event for _, event in sorted(self.held.items()) if not event.is_settled]

    def retries(self) -> list[ModelEvent]:
        """Return the dead letters to retry, in order."""
        return [
            event
            for _, event in sorted(self.held.items())
            if event.retry_wanted and event.is_settled
        ]

    def deferred(self) -> list[ModelEvent]:
        """Return the deferred events, in order."""
        return [event for _, event in sorted(self.held.items()) if event.is_deferred]

    def is_doubtful(self, event: ModelEvent, *, is_retry: bool) -> bool:
        """Return whether central may already have the event."""
        return event.in_doubt or (not is_retry and event.position in self.in_flight)

    def session_refused(self, event: ModelEvent, *, is_retry: bool) -> bool:
        """Return whether the event is an answer without a session at central."""
        session = self.held[event.session]
        if not event.is_answer or session.dead is None:
            return False
        return not (is_retry and session.retry_wanted)

    def is_overtaken(self, event: ModelEvent, *, is_retry: bool) -> bool:
        """Return whether a later answer of the same session was delivered."""
        return is_retry and any(
            later.position > event.position and later.is_settled and later.dead is None
            for later in self.held.values()
            if event.is_answer and later.session == event.session
        )

    def attempt(self, window: Sequence[ModelEvent]) -> None:
        """Put `window` in flight; events of an unfinished attempt stay in doubt."""
        for event in self.pending():
            event.in_doubt |= event.position in self.in_flight
        for event in window:
            event.in_doubt |= event.dead is not None
        first_time = [event.position for event in window if event.dead is None]
        self.in_flight = range(first_time[0], first_time[-1] + 1) if first_time else range(0)

    def settle(
        self, window: Window, verdicts: Mapping[int, Verdict], doubtful: Iterable[int]
    ) -> None:
        """Apply the verdicts; events of `window` that were not sent are no longer in doubt."""
        for sent in window.events:
            self.held[sent.position].in_doubt &= sent.is_doubtful
        for position, verdict in verdicts.items():
            event = self.held[position]
            event.is_settled, event.in_doubt = True, False
            event.is_deferred = isinstance(verdict, Deferred) and event.dead is None
            if isinstance(verdict, Refused):
                event.dead, event.refusal = event.dead or "open", verdict
                event.attempts, event.retry_wanted = event.attempts + 1, False
        for position, verdict in verdicts.items():
            if isinstance(verdict, Delivered) and self.held[position].dead is not None:
                self._deliver_late(self.held[position])
        for position in doubtful:
            self.held[position].in_doubt = True
        self.in_flight = range(0)

    def _deliver_late(self, event: ModelEvent) -> None:
        event.dead, event.refusal, event.attempts, event.retry_wanted = None, None, 0, False
        self._retry_answers(event)

    def _retry_answers(self, session: ModelEvent) -> None:
        for event in self.held.values():
            if event.is_answer and event.session == session.position and event.dead == "open":
                event.retry_wanted = True

    def rewind(self, epoch: str, expected: int) -> bool:
        """Make events pending again, or retry those left among purged ones; return if any was."""
        count = len([r for r in self.receipts.values() if r.epoch == epoch])
        if expected > count:
            return False
        position, last = self.bases[epoch] + max(expected, 1) - 1, self.bases[epoch] + count
        are_left = self._retry_left(position, min(self.purged_through, last))
        if last <= self.purged_through:
            return are_left
        return self._rewind_to(position) or are_left

    def _retry_left(self, above: int, through: int) -> bool:
        left = [
            k
            for k in self.held.values()
            if above < k.position <= through and k.dead != "discarded"
            if not (k.retry_wanted or k.is_deferred)
        ]
        for event in left:
            event.dead, event.retry_wanted = "open", True
            event.refusal = event.refusal or SENT_AGAIN
        return bool(left)

    def _rewind_to(self, position: int) -> bool:
        target = max(position, self.purged_through)
        settled = [k for k in self.held.values() if k.position > target and k.is_settled]
        for event in settled:
            event.is_settled = False
        return bool(settled)

    def renumber(self, epoch: str, after: int, new: str) -> None:
        """Move the following events into the epoch `new`, if one has to begin."""
        count = len([r for r in self.receipts.values() if r.epoch == epoch])
        if epoch != self.current and after >= count:
            return
        base = self.bases[epoch] + min(after, count)
        moved = [p for p, r in self.receipts.items() if r.epoch == epoch and r.sequence > after]
        self.receipts |= {position: Receipt(new, position - base) for position in moved}
        self.bases[new] = base
        if epoch == self.current:
            self.current = new
        self._rewind_to(base)

    def retry(self, event: ModelEvent) -> bool:
        """Mark a dead letter for retry."""
        if event.dead != "open":
            return False
        event.retry_wanted = True
        self._retry_answers(event)
        return True

    def discard(self, event: ModelEvent) -> bool:
        """Discard a dead letter."""
        if event.dead != "open":
            return False
        event.dead, event.retry_wanted, event.is_erased = "discarded", False, True
        return True

    def retry_delivered(self, event: ModelEvent) -> int:
        """Retry a delivered event that central reports as rejected."""
        if event.dead is not None or not event.is_settled:
            return 0
        event.dead, event.refusal = "open", STANDS_REFUSED
        event.attempts, event.retry_wanted = 1, True
        return 1

    def erase(self) -> None:
        """Erase all addresses that are due."""
        for event in self.held.values():
            event.is_erased |= event.is_settled and event.dead is None

    def purge(self) -> None:
        """Delete all settled events that are no longer needed."""
        watermark, last = self.watermark, None
        while last != len(self.held):
            last = len(self.held)
            for event in [k for k in self._purgeable() if k.position <= watermark]:
                del self.held[event.position]
                self.purged_through = max(self.purged_through, event.position)

    def _purgeable(self) -> Iterator[ModelEvent]:
        answered = {event.session for event in self.held.values() if event.is_answer}
        for event in self.held.values():
            is_free = event.is_answer or event.position not in answered
            if event.dead != "open" and is_free and not self._overtook(event):
                yield event

    def _overtook(self, event: ModelEvent) -> bool:
        return any(
            earlier.dead == "open" and earlier.position < event.position
            for earlier in self.held.values()
            if earlier.is_answer and earlier.session == event.session
        )
