"""A transport that does what a test says: by default it takes everything."""

from collections import deque
from collections.abc import Awaitable, Callable

from sync.delivery.outbox import Judged, Portion, Window
from sync.delivery.outcomes import Delivered, Refused, Stop, TryLater, Verdict
from sync.delivery.push import Delivery

Saying = Callable[[Window], Delivery | Awaitable[Delivery]]
DELIVERED = Delivered()


def takes(window: Window) -> Delivery:
    """Take all of it."""
    return Delivery([Judged(event, DELIVERED) for event in window.events])


def takes_only(count: int, stop: Stop) -> Saying:
    """Take so many from the beginning, then stop."""
    return lambda window: Delivery(list(takes(window).judged)[:count], stop=stop)


def leaves(*positions: int, trouble: TryLater) -> Saying:
    """Take all but these, which come to no verdict."""

    def saying(window: Window) -> Delivery:
        judged = [one for one in takes(window).judged if one.event.position not in positions]
        left = trouble if len(judged) < len(window.events) else None
        doubtful = [event for event in window.events if event.position in positions]
        return Delivery(judged, doubtful, left=left)

    return saying


def refuses(*positions: int, verdict: Verdict = Refused("CODE", "a reason", 400)) -> Saying:  # noqa: B008 - a frozen value
    """Refuse these and take the rest."""
    return lambda window: Delivery(
        [
            Judged(event, verdict if event.position in positions else DELIVERED)
            for event in window.events
        ]
    )


class FakeTransport:
    """Says in turn what is in `script`, then what `otherwise` says.

    As the real ones it is given windows in which there is something, and asks nothing of the
    outbox. `windows` are the positions of each window it was given, `probes` whether it was
    told that the window is a probe.
    """

    def __init__(
        self, *script: Saying, portion: Portion | None = None, leaves_doubt: bool = False
    ) -> None:
        self.portion = portion or Portion(events=3, max_bytes=2**20)
        self.leaves_doubt = leaves_doubt
        self.script = deque(script)
        self.otherwise: Saying = takes
        self.sent: list[Window] = []
        self.probes: list[bool] = []

    @property
    def windows(self) -> list[list[int]]:
        """The positions in each window that came, in order."""
        return [[event.position for event in window.events] for window in self.sent]

    async def deliver(self, window: Window, *, probing: bool) -> Delivery:
        """Answer as scripted."""
        assert window.events
        self.sent.append(window)
        self.probes.append(probing)
        saying = self.script.popleft() if self.script else self.otherwise
        delivery = saying(window)
        return delivery if isinstance(delivery, Delivery) else await delivery
