"""Which sessions' lanes are stopped, and by which event; kept from window to window."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sync.delivery.outbox import OutboxEvent
from sync.delivery.outcomes import TryLater

# Each costs the pass that passes it by a look at the outbox.
MOST_PASSED_BY = 100
_PASSED_BY = -math.inf


@dataclass(slots=True)
class _Stopped:
    by_position: float
    trouble: TryLater
    is_sick: bool = False


class StoppedLanes:
    """The lanes in which an event came to no verdict: those after it must not overtake it.

    A lane is sick when others got through beside it. Then its event is at fault and not the
    line, and what becomes of it says nothing about central.

    Lanes that ended a pass are passed by in the next one, which begins behind them: a few
    records that central can never answer must not hold up all others.
    """

    def __init__(self) -> None:
        self._stopped: dict[int, _Stopped] = {}
        self._last_position = 0
        self._passes_by = False

    def begin(self, events: Sequence[OutboxEvent]) -> None:
        """Note that a window begins; where it goes back, all that waits comes in order anew."""
        if events[0].position <= self._last_position:
            if not self._passes_by or len(self._stopped) > MOST_PASSED_BY:
                self._stopped = {name: one for name, one in self._stopped.items() if one.is_sick}
            for stopped in self._stopped.values():
                stopped.by_position = math.inf if stopped.is_sick else _PASSED_BY
            self._passes_by = False
        self._last_position = events[-1].position

    def pass_by(self) -> None:
        """Note that the stopped lanes end a pass: the next one is to begin behind them."""
        self._passes_by = True

    def why_not(self, event: OutboxEvent) -> TryLater | None:
        """Return why `event` must wait for one before it; None where it may be tried."""
        stopped = self._stopped.get(event.session)
        if stopped is None or event.position <= stopped.by_position:
            return None
        return stopped.trouble

    def is_sick(self, event: OutboxEvent) -> bool:
        """Whether the event's lane had stopped while others got through."""
        stopped = self._stopped.get(event.session)
        return stopped is not None and stopped.is_sick

    def stop(self, event: OutboxEvent, trouble: TryLater) -> None:
        """Note that `event` came to no verdict."""
        is_sick = self.is_sick(event)
        self._stopped[event.session] = _Stopped(event.position, trouble, is_sick)

    def go_on(self, event: OutboxEvent) -> None:
        """Note that `event` came to a verdict."""
        self._stopped.pop(event.session, None)

    def others_got_through(self, events: Sequence[OutboxEvent]) -> None:
        """Note that something came to a verdict beside the stopped lanes of `events`."""
        beside = {event.session for event in events}
        for name, stopped in self._stopped.items():
            if name in beside or stopped.by_position == _PASSED_BY:
                stopped.is_sick = True
