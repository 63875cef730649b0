"""A window in flight at a backend with the loyalty API: lanes, verdicts, suspects."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

from sync.delivery.outbox import EventResult, OutboxEvent
from sync.delivery.outcomes import Blocked, Deferred, Delivered, Refused, RetryLater, Verdict
from sync.delivery.transport import SESSION_WAITS, Suspect, WindowResult
from sync.protocol.wire import ErrorCode, EventType

_SESSION_REFUSED = Refused(
    ErrorCode.SESSION_REFUSED, "the session of this answer was refused", None
)
_ADDRESS_ERASED = Refused(
    "ADDRESS_ERASED", "the address was erased after its delivery, so it cannot be sent again", None
)
_OVERTAKEN = Refused(
    "OVERTAKEN", "a later answer was delivered, and this one would overwrite it", None
)


@dataclass(slots=True)
class WindowRun:
    """State of a window in flight. `unanswered`: positions with a request that got no outcome.

    `suspects`: events that failed since the last verdict. `is_checked`: a request without effect
    was sent since then; `is_central_up`: and answered as it must be. `has_passed`: central had a
    verdict on an event.
    """

    events: Sequence[OutboxEvent]
    lanes: deque[list[OutboxEvent]]
    once: bool
    verdicts: dict[int, Verdict] = field(default_factory=dict)
    unanswered: set[int] = field(default_factory=set)
    suspects: dict[int, Suspect] = field(default_factory=dict)
    is_checked: bool = False
    is_central_up: bool = False
    has_passed: bool = False
    stop: Blocked | RetryLater | None = None

    def local_verdict(self, event: OutboxEvent) -> Refused | Deferred | None:
        """Return why `event` must not be sent; None if it may."""
        if event.damage is not None:
            return event.damage
        if event.type is EventType.SESSION_STARTED:
            return None
        if event.session_refused or isinstance(self.verdicts.get(event.session), Refused):
            return _SESSION_REFUSED
        if event.is_waiting:
            return SESSION_WAITS
        if event.is_overtaken:
            return _OVERTAKEN
        return _ADDRESS_ERASED if event.is_erased else None

    def pass_suspects_by(self, *, others_passed: bool) -> None:
        """Give each suspect the verdict of a failure of its own."""
        for position, suspect in self.suspects.items():
            self.verdicts[position] = suspect.own_verdict(others_passed=others_passed)
        self.suspects.clear()
        self.is_checked = self.is_central_up = False

    def is_in_doubt(self, event: OutboxEvent) -> bool:
        """Return whether an earlier attempt may have delivered the event."""
        return event.is_doubtful or event.position in self.unanswered

    def result(self) -> WindowResult:
        """Return the results known so far of the window's events."""
        verdicts = [(event, self.verdicts.get(event.position)) for event in self.events]
        return WindowResult(
            results=[EventResult(event, verdict) for event, verdict in verdicts if verdict],
            doubtful=[
                e for e, verdict in verdicts if self.is_in_doubt(e) and not _ends_doubt(verdict)
            ],
            stop=self.stop,
            suspects=list(self.suspects.values()),
            is_central_up=self.is_central_up,
        )


def lanes_of(events: Sequence[OutboxEvent]) -> deque[list[OutboxEvent]]:
    """Return the events by session, in order of the first event of each."""
    lanes: dict[int, list[OutboxEvent]] = {}
    for event in events:
        lanes.setdefault(event.session, []).append(event)
    return deque(lanes.values())


def _ends_doubt(verdict: Verdict | None) -> bool:
    """Return whether `verdict` settles that an earlier attempt was or was not delivered.

    A local refusal, one by a gateway, and a 413, possibly from a proxy, do not: central did not
    read the event.
    """
    if isinstance(verdict, Refused):
        is_read = verdict.http_status not in {None, HTTPStatus.REQUEST_ENTITY_TOO_LARGE}
        return is_read and verdict.error_code != ErrorCode.REFUSED_BY_GATEWAY
    return isinstance(verdict, Delivered)
