"""Scripted transport; accepts everything by default."""

from collections import deque
from collections.abc import Awaitable, Callable

from sync.delivery.outbox import BatchLimits, EventResult, Window
from sync.delivery.outcomes import Deferred, Delivered, Refused, Stop, Verdict
from sync.delivery.transport import WindowResult

Behaviour = Callable[[Window], WindowResult | Awaitable[WindowResult]]
DELIVERED = Delivered()
DEFERRED = Deferred("NO_VERDICT", "answered 500", 500)


def accept_all(window: Window) -> WindowResult:
    """Accept all events."""
    return WindowResult([EventResult(event, DELIVERED) for event in window.events])


def accept_then_stop(count: int, stop: Stop) -> Behaviour:
    """Accept the first `count` events, then stop."""
    return lambda window: WindowResult(list(accept_all(window).results)[:count], stop=stop)


def defer(*positions: int) -> Behaviour:
    """Accept all but these, which get no verdict."""

    def behaviour(window: Window) -> WindowResult:
        doubtful = [event for event in window.events if event.position in positions]
        results = [
            EventResult(event, DEFERRED if event in doubtful else DELIVERED)
            for event in window.events
        ]
        return WindowResult(results, doubtful)

    return behaviour


def refuse(*positions: int, verdict: Verdict = Refused("CODE", "a reason", 400)) -> Behaviour:  # noqa: B008 - a frozen value
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
        self, *script: Behaviour, limits: BatchLimits | None = None, is_idempotent: bool = True
    ) -> None:
        self.limits = limits or BatchLimits(events=3, max_bytes=2**20)
        self.is_idempotent = is_idempotent
        self.script = deque(script)
        self.otherwise: Behaviour = accept_all
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
        behaviour = self.script.popleft() if self.script else self.otherwise
        delivery = behaviour(window)
        return delivery if isinstance(delivery, WindowResult) else await delivery
