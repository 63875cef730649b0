"""Tracks the stopped session lanes and the event that stopped each, across windows."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sync.delivery.outbox import OutboxEvent
from sync.delivery.outcomes import RetryLater

# Each skipped lane costs the pass one read of the outbox.
MOST_PASSED_BY = 100
_PASSED_BY = -math.inf


@dataclass(slots=True)
class _Stopped:
    by_position: float
    cause: RetryLater
    is_sick: bool = False


class StoppedLanes:
    """Lanes (sessions) whose last event got no verdict: later events must not overtake it.

    A lane is sick if other lanes got verdicts while it was stopped. Then its event is at fault,
    not the network, and its failures are no sign that central is down.

    Lanes that ended a pass are skipped by the next one: a few events that central can never
    answer must not block all others.
    """

    def __init__(self) -> None:
        self._stopped: dict[int, _Stopped] = {}
        self._last_position = 0
        self._passes_by = False

    def start_window(self, events: Sequence[OutboxEvent]) -> None:
        """Start a window. If it starts over at a lower position, release the stopped lanes."""
        if events[0].position <= self._last_position:
            if not self._passes_by or len(self._stopped) > MOST_PASSED_BY:
                self._stopped = {name: one for name, one in self._stopped.items() if one.is_sick}
            for stopped in self._stopped.values():
                stopped.by_position = math.inf if stopped.is_sick else _PASSED_BY
            self._passes_by = False
        self._last_position = events[-1].position

    def skip_next_pass(self) -> None:
        """Skip the stopped lanes in the next pass, because they ended this one."""
        self._passes_by = True

    def blocked_by(self, event: OutboxEvent) -> RetryLater | None:
        """Return why `event` must wait for an earlier one; None if it may be sent."""
        stopped = self._stopped.get(event.session)
        if stopped is None or event.position <= stopped.by_position:
            return None
        return stopped.cause

    def is_sick(self, event: OutboxEvent) -> bool:
        """Return whether the event's lane was stopped while other lanes got verdicts."""
        stopped = self._stopped.get(event.session)
        return stopped is not None and stopped.is_sick

    def stop(self, event: OutboxEvent, cause: RetryLater) -> None:
        """Stop the lane of `event`, which got no verdict."""
        is_sick = self.is_sick(event)
        self._stopped[event.session] = _Stopped(event.position, cause, is_sick)

    def release(self, event: OutboxEvent) -> None:
        """Release the lane of `event`, which got a verdict."""
        self._stopped.pop(event.session, None)

    def mark_sick_beside(self, events: Sequence[OutboxEvent]) -> None:
        """Mark the stopped lanes of `events` as sick: another lane got a verdict beside them."""
        beside = {event.session for event in events}
        for name, stopped in self._stopped.items():
            if name in beside or stopped.by_position == _PASSED_BY:
                stopped.is_sick = True
