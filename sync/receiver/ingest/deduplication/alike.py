"""Answers of one session, found by their digests. Pure, no I/O."""

from collections.abc import Iterable
from itertools import chain, islice

from sync.receiver.ingest.deduplication.digest import digest_in
from sync.receiver.ingest.deduplication.equality import is_same_event
from sync.receiver.ingest.events import AnswerEvent

# Most unequal answers with the same digest and address: they were captured in the same microsecond,
# with different addresses in their bodies. No till does that; the bound keeps the number of
# comparisons linear in the batch.
MAX_ALIKE = 16


class AlikeAnswers:
    """Answers of one session. Digests are computed when an answer is compared, not earlier."""

    def __init__(self, answers: Iterable[AnswerEvent]) -> None:
        self._undigested = list(answers)
        # By digest, then by address; an erased address and none are both None.
        self._by_digest: dict[str, dict[str | None, list[AnswerEvent]]] = {}

    def has_equal(self, answer: AnswerEvent) -> bool:
        """Return whether an answer with equal content is among them."""
        return any(is_same_event(answer, other) for other in self._candidates(answer))

    def is_full_for(self, answer: AnswerEvent) -> bool:
        """Return whether there are too many alike answers to add this one."""
        alike = self._by_digest.get(digest_in(answer), {})
        return len(alike.get(answer.email_address, ())) >= MAX_ALIKE

    def add(self, answer: AnswerEvent) -> None:
        """Add an answer."""
        alike = self._by_digest.setdefault(digest_in(answer), {})
        alike.setdefault(answer.email_address, []).append(answer)

    def _candidates(self, answer: AnswerEvent) -> Iterable[AnswerEvent]:
        while self._undigested:
            self.add(self._undigested.pop())
        alike = self._by_digest.get(digest_in(answer), {})
        if answer.address_erased:
            # It equals any address: the first answers stand for those that differ by it alone.
            return islice(chain.from_iterable(alike.values()), MAX_ALIKE)
        without = alike.get(None, ()) if answer.email_address is not None else ()
        return chain(alike.get(answer.email_address, ()), without)
