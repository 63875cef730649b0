"""Model of the outbox in dictionaries, compared with the real one."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from agent.facts import DeliveryState, Receipt
from agent.store.outbox.dead_letter_queue import STANDS_REFUSED
from sync.delivery.outbox import Window
from sync.delivery.outcomes import Delivered, Refused, Verdict


@dataclass
class Kept:
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

    @property
    def is_answer(self) -> bool:
        """True for an e-mail answer."""
        return self.session != self.position

    @property
    def state(self) -> DeliveryState:
        """The state that a till sees."""
        if self.dead is not None:
            return DeliveryState.REFUSED
        return DeliveryState.DELIVERED if self.is_settled else DeliveryState.WAITING

    @property
    def body(self) -> bytes:
        """The body to be sent."""
        if not self.is_answer:
            return b'{"correlationId":"%b"}' % self.name.encode()
        address = b'"%b"' % self.address.encode() if self.address and not self.is_erased else None
        member = b'null,"erased":true' if address is None else address
        return b'{"emailAddress":%b,"status":"accepted"}' % member


@dataclass
class Model:
    """All events ever captured, by position, and their receipts."""

    held: dict[int, Kept] = field(default_factory=dict)
    receipts: dict[int, Receipt] = field(default_factory=dict)
    bases: dict[str, int] = field(default_factory=lambda: {"epoch-1": 0})
    current: str = "epoch-1"
    trying: range = range(0)
    purged_through: int = 0

    @property
    def last_position(self) -> int:
        """The highest position ever issued."""
        return max(self.receipts, default=0)

    @property
    def watermark(self) -> int:
        """All events up to this position are settled."""
        waiting = (kept.position for kept in self.held.values() if not kept.is_settled)
        return min(waiting, default=self.last_position + 1) - 1

    def capture(self, name: str, session: int | None, address: str | None) -> Receipt:
        """Add an event; return its receipt."""
        position = self.last_position + 1
        self.held[position] = Kept(position, session or position, name, address)
        receipt = Receipt(self.current, position - self.bases[self.current])
        self.receipts[position] = receipt
        return receipt

    def waiting(self) -> list[Kept]:
        """Return the pending events in order."""
        return [kept for _, kept in sorted(self.held.items()) if not kept.is_settled]

    def to_retry(self) -> list[Kept]:
        """Return the dead letters to retry, in order."""
        return [
            kept for _, kept in sorted(self.held.items()) if kept.retry_wanted and kept.is_settled
        ]

    def is_doubtful(self, kept: Kept, *, again: bool) -> bool:
        """Return whether central may already have the event."""
        return kept.in_doubt or (not again and kept.position in self.trying)

    def session_refused(self, kept: Kept, *, again: bool) -> bool:
        """Return whether the event is an answer without a session at central."""
        session = self.held[kept.session]
        if not kept.is_answer or session.dead is None:
            return False
        return not (again and session.retry_wanted)

    def is_overtaken(self, kept: Kept, *, again: bool) -> bool:
        """Return whether a later answer of the same session was delivered."""
        return again and any(
            later.position > kept.position and later.is_settled and later.dead is None
            for later in self.held.values()
            if kept.is_answer and later.session == kept.session
        )

    def attempt(self, window: Sequence[Kept]) -> None:
        """Put `window` in flight; events of an unfinished attempt stay in doubt."""
        for kept in self.waiting():
            kept.in_doubt |= kept.position in self.trying
        for kept in window:
            kept.in_doubt |= kept.dead is not None
        first_time = [kept.position for kept in window if kept.dead is None]
        self.trying = range(first_time[0], first_time[-1] + 1) if first_time else range(0)

    def settle(
        self, window: Window, verdicts: Mapping[int, Verdict], doubtful: Iterable[int]
    ) -> None:
        """Apply the verdicts; events of `window` that were not sent are no longer in doubt."""
        for event in window.events:
            self.held[event.position].in_doubt &= event.is_doubtful
        for position, verdict in verdicts.items():
            kept = self.held[position]
            kept.is_settled, kept.in_doubt = True, False
            if isinstance(verdict, Refused):
                kept.dead, kept.refusal = kept.dead or "open", verdict
                kept.attempts, kept.retry_wanted = kept.attempts + 1, False
        for position, verdict in verdicts.items():
            if isinstance(verdict, Delivered) and self.held[position].dead is not None:
                self._deliver_late(self.held[position])
        for position in doubtful:
            self.held[position].in_doubt = True
        self.trying = range(0)

    def _deliver_late(self, kept: Kept) -> None:
        kept.dead, kept.refusal, kept.attempts, kept.retry_wanted = None, None, 0, False
        self._want_answers(kept)

    def _want_answers(self, session: Kept) -> None:
        for kept in self.held.values():
            if kept.is_answer and kept.session == session.position and kept.dead == "open":
                kept.retry_wanted = True

    def rewind(self, epoch: str, expected: int) -> bool:
        """Make events pending again; return True if any was settled."""
        count = len([r for r in self.receipts.values() if r.epoch == epoch])
        if expected > count or self.bases[epoch] + count <= self.purged_through:
            return False
        return self._rewind_to(self.bases[epoch] + max(expected, 1) - 1)

    def _rewind_to(self, position: int) -> bool:
        target = max(position, self.purged_through)
        again = [k for k in self.held.values() if k.position > target and k.is_settled]
        for kept in again:
            kept.is_settled = False
        return bool(again)

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

    def retry(self, kept: Kept) -> bool:
        """Mark a dead letter for retry."""
        if kept.dead != "open":
            return False
        kept.retry_wanted = True
        self._want_answers(kept)
        return True

    def discard(self, kept: Kept) -> bool:
        """Discard a dead letter."""
        if kept.dead != "open":
            return False
        kept.dead, kept.retry_wanted, kept.is_erased = "discarded", False, True
        return True

    def retry_delivered(self, kept: Kept) -> int:
        """Retry a delivered event that central reports as rejected."""
        if kept.dead is not None or not kept.is_settled:
            return 0
        kept.dead, kept.refusal = "open", STANDS_REFUSED
        kept.attempts, kept.retry_wanted = 1, True
        return 1

    def erase(self) -> None:
        """Erase all addresses that are due."""
        for kept in self.held.values():
            kept.is_erased |= kept.is_settled and kept.dead is None

    def purge(self) -> None:
        """Delete all settled events that are no longer needed."""
        watermark, last = self.watermark, None
        while last != len(self.held):
            last = len(self.held)
            for kept in [k for k in self._purgeable() if k.position <= watermark]:
                del self.held[kept.position]
                self.purged_through = max(self.purged_through, kept.position)

    def _purgeable(self) -> Iterator[Kept]:
        answered = {kept.session for kept in self.held.values() if kept.is_answer}
        for kept in self.held.values():
            is_free = kept.is_answer or kept.position not in answered
            if kept.dead != "open" and is_free and not self._overtook(kept):
                yield kept

    def _overtook(self, kept: Kept) -> bool:
        return any(
            earlier.dead == "open" and earlier.position < kept.position
            for earlier in self.held.values()
            if earlier.is_answer and earlier.session == kept.session
        )
