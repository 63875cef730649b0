"""Tracks the stopped session lanes and the event that stopped each, across windows."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sync.delivery.outbox import OutboxEvent
from sync.delivery.outcomes import RetryLater

# Each skipped lane costs the pass one read of the outbox.
MAX_SKIPPED = 100
_WHOLE_LANE, _NOTHING = -math.inf, math.inf


@dataclass(slots=True)
class _StoppedLane:
    """`blocks_above`: events above this position wait."""

    blocks_above: float
    failure: RetryLater
    is_sick: bool = False


class StoppedLanes:
    """Lanes (sessions) whose last event got no verdict: later events must not overtake it.

    A lane is sick if other lanes got verdicts while it was stopped. Then its event is at fault,
    not the network, and its failures are no sign that central is down.

    Lanes that ended a pass (`skips_next_pass`) are skipped by the next one: a few events that
    central can never answer must not block all others.
    """

    def __init__(self) -> None:
        self._stopped: dict[int, _StoppedLane] = {}
        self._last_position = 0
        self.skips_next_pass = False

    def start_window(self, events: Sequence[OutboxEvent]) -> None:
        """Start a window. If it is the first of a pass, release or skip the stopped lanes.

        Sick lanes are always released: their failures do not end a pass.
        """
        if events[0].position <= self._last_position:
            if not self.skips_next_pass or len(self._stopped) > MAX_SKIPPED:
                self._stopped = {name: one for name, one in self._stopped.items() if one.is_sick}
            for lane in self._stopped.values():
                lane.blocks_above = _NOTHING if lane.is_sick else _WHOLE_LANE
            self.skips_next_pass = False
        self._last_position = events[-1].position

    def blocked_by(self, event: OutboxEvent) -> RetryLater | None:
        """Return why `event` must wait for an earlier one; None if it may be sent."""
        lane = self._stopped.get(event.session)
        return lane.failure if lane is not None and event.position > lane.blocks_above else None

    def is_sick(self, event: OutboxEvent) -> bool:
        """Return whether the event's lane was stopped while other lanes got verdicts."""
        lane = self._stopped.get(event.session)
        return lane is not None and lane.is_sick

    def stop(self, event: OutboxEvent, failure: RetryLater) -> None:
        """Stop the lane of `event`, which got no verdict."""
        is_sick = self.is_sick(event)
        self._stopped[event.session] = _StoppedLane(event.position, failure, is_sick)

    def release(self, event: OutboxEvent) -> None:
        """Release the lane of `event`, which got a verdict."""
        self._stopped.pop(event.session, None)

    def mark_sick_beside(self, events: Sequence[OutboxEvent]) -> None:
        """Mark the stopped lanes of `events`, and skipped ones, as sick: another got a verdict."""
        beside = {event.session for event in events}
        for session, lane in self._stopped.items():
            if session in beside or lane.blocks_above == _WHOLE_LANE:
                lane.is_sick = True
