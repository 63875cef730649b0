"""Scripted transport; accepts everything by default."""

from collections import deque
from collections.abc import Awaitable, Callable

from sync.delivery.outbox import BatchLimits, EventResult, Window
from sync.delivery.outcomes import Delivered, Refused, RetryLater, Stop, Verdict
from sync.delivery.transport import WindowResult

Saying = Callable[[Window], WindowResult | Awaitable[WindowResult]]
DELIVERED = Delivered()


def takes(window: Window) -> WindowResult:
    """Accept all events."""
    return WindowResult([EventResult(event, DELIVERED) for event in window.events])


def takes_only(count: int, stop: Stop) -> Saying:
    """Accept the first `count` events, then stop."""
    return lambda window: WindowResult(list(takes(window).results)[:count], stop=stop)


def leaves(*positions: int, cause: RetryLater) -> Saying:
    """Accept all but these, which get no verdict."""

    def saying(window: Window) -> WindowResult:
        judged = [one for one in takes(window).results if one.event.position not in positions]
        unfinished = cause if len(judged) < len(window.events) else None
        doubtful = [event for event in window.events if event.position in positions]
        return WindowResult(judged, doubtful, unfinished=unfinished)

    return saying


def refuses(*positions: int, verdict: Verdict = Refused("CODE", "a reason", 400)) -> Saying:  # noqa: B008 - a frozen value
    """Refuse these and accept the rest."""
    return lambda window: WindowResult(
        [
            EventResult(event, verdict if event.position in positions else DELIVERED)
            for event in window.events
        ]
    )


class FakeTransport:
    """Answers with the entries of `script` in turn, then with `otherwise`.

    As a real transport it never gets an empty window and does not use the outbox. `windows`: the
    positions of each window; `probes`: the `probing` argument of each.
    """

    def __init__(
        self, *script: Saying, limits: BatchLimits | None = None, is_idempotent: bool = True
    ) -> None:
        self.limits = limits or BatchLimits(events=3, max_bytes=2**20)
        self.is_idempotent = is_idempotent
        self.script = deque(script)
        self.otherwise: Saying = takes
        self.sent: list[Window] = []
        self.probes: list[bool] = []

    @property
    def windows(self) -> list[list[int]]:
        """Positions of each window sent, in order."""
        return [[event.position for event in window.events] for window in self.sent]

    async def send(self, window: Window, *, probing: bool) -> WindowResult:
        """Return the scripted result."""
        assert window.events
        self.sent.append(window)
        self.probes.append(probing)
        saying = self.script.popleft() if self.script else self.otherwise
        delivery = saying(window)
        return delivery if isinstance(delivery, WindowResult) else await delivery
