"""What a pass needs of the outbox: its port, and the values that go through it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sync.delivery.outcomes import Refused, Verdict
from sync.protocol.wire import EventType


@dataclass(frozen=True, slots=True)
class OutboxEvent:
    """An event as it waits. `position` is the outbox's own name for it, ascending.

    `session` is the position of the session that it belongs to. `body` is the JSON to send,
    the address put back; `is_erased` where it is held no more. `is_doubtful`: an earlier try
    may have reached central. `session_refused`: its session is a dead letter. `is_overtaken`: a
    later answer of its session has been delivered. `refusal`: what central said of it last, where
    it is a dead letter that is tried again.
    """

    position: int
    sequence: int
    type: EventType
    session: int
    correlation_id: str
    occurred_at_us: int
    monotonic_us: int
    boot_id: str
    query_locale: str | None
    body: bytes
    is_erased: bool = False
    is_doubtful: bool = False
    session_refused: bool = False
    is_overtaken: bool = False
    refusal: Refused | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """Events of one epoch in ascending order, none for nothing to do.

    `base_sequence` is the lowest number of the epoch from which on all are held.
    """

    epoch: str
    base_sequence: int
    events: Sequence[OutboxEvent]


@dataclass(frozen=True, slots=True)
class Portion:
    """The most that a window may hold: events, and bytes of their bodies (one event may exceed)."""

    events: int
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Judged:
    """An event and what became of it at central."""

    event: OutboxEvent
    verdict: Verdict


class OutboxUnavailable(Exception):  # noqa: N818 - names the state
    """The outbox cannot be read or written now; the text says why. Nothing is lost."""


class Outbox(Protocol):
    """The events of a till's machine, until central has them. All raise `OutboxUnavailable`."""

    async def read(self, portion: Portion, *, after: int = 0) -> Window:
        """Return the lowest events that are not settled, of one epoch, from above `after`."""

    async def read_retries(self, portion: Portion, *, after: int = 0) -> Window:
        """Return the dead letters that are to be tried again, of one epoch, above `after`."""

    async def note_attempt(self, window: Window) -> None:
        """Note durably, before anything is sent, that `window` is about to be tried."""

    async def settle(
        self, window: Window, judged: Sequence[Judged], doubtful: Sequence[OutboxEvent] = ()
    ) -> None:
        """Keep durably what became of a window, and which of it may have arrived unnoticed.

        Not where another outbox has taken this one's place since `window` was read.
        """

    async def rewind(self, epoch: str, expected_sequence: int) -> bool:
        """Let all from `expected_sequence` on, or from the lowest held, wait again.

        Returns whether anything now waits that did not before.
        """

    async def renumber(self, epoch: str, after_sequence: int) -> None:
        """Begin a new epoch; what follows `after_sequence` of `epoch` moves into it."""
