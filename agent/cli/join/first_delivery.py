"""Waits for the first delivery after a join."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from agent.api.status.document import DeliveryFigures, section
from agent.cli.client import AgentClient, AgentError, AgentResponse
from agent.config import ConfigurationError
from sync.delivery.outcomes import NOT_ASKED
from sync.protocol.join_code import JoinCode
from sync.runtime.cli.printing import count

PATIENCE_SECONDS = 120.0
_POLL_SECONDS = 0.25
_ACCEPTED = "Head office accepts this machine. No capture is waiting; the next one is delivered."


@dataclass(frozen=True, slots=True)
class FirstDelivery:
    """Outcome of the wait, for people. `is_confirmed`: head office accepts this machine."""

    is_confirmed: bool
    text: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """A wait for the first delivery of the agent that runs with the client's settings.

    `refusal` asks head office directly when the agent has nothing to deliver. It returns why head
    office refuses this machine, or an empty text.
    """

    client: AgentClient
    code: JoinCode
    show: Callable[[str], None]
    refusal: Callable[[], str]
    patience_seconds: float = PATIENCE_SECONDS

    def wait(self) -> FirstDelivery:
        """Return when captures are delivered, head office has answered, or patience ends."""
        ends = time.monotonic() + self.patience_seconds
        cause, is_triggered = "", False
        while time.monotonic() < ends:
            status = self._status()
            if status is None:
                cause = "the agent does not answer yet"
            elif not self._is_joined(status):
                cause = "the agent that answers still has other settings: is another one running?"
            else:
                if not is_triggered:
                    is_triggered = self._trigger()
                delivery = DeliveryFigures.of(status)
                if (found := _outcome(status, delivery)) is not None:
                    return found
                cause = delivery.cause
                if _has_nothing_to_deliver(status, delivery) and not (cause := self.refusal()):
                    return FirstDelivery(True, _ACCEPTED)
                self.show(_progress(status))
            time.sleep(_POLL_SECONDS)
        seconds = round(self.patience_seconds)
        return FirstDelivery(False, f"no delivery within {seconds} s: {cause}")

    def _status(self) -> dict[str, object] | None:
        """Return the status of the agent; None while it restarts."""
        answer = _answer_or_none(self.client.status)
        return None if answer is None else answer.members

    def _is_joined(self, status: dict[str, object]) -> bool:
        central = section(status, "central")
        named = (status.get("storeId"), status.get("tillId"), str(central.get("url")).rstrip("/"))
        return named == (self.code.store_id, self.code.till_id, self.code.url)

    def _trigger(self) -> bool:
        """Start a pass, which skips a pending retry delay and quiet hours."""
        path = "/agent/v1/sync?pace=full"
        return _answer_or_none(lambda: self.client.request("POST", path)) is not None


def _answer_or_none(ask: Callable[[], AgentResponse]) -> AgentResponse | None:
    try:
        return ask()
    except (AgentError, ConfigurationError):
        return None


def _outcome(status: dict[str, object], delivery: DeliveryFigures) -> FirstDelivery | None:
    delivered, waiting = delivery.delivered, status.get("waiting")
    if delivered and waiting == 0:
        return FirstDelivery(True, f"Delivered: {count(delivered, 'capture')}, none is waiting.")
    if delivered and delivery.state == "delivering":
        return None
    if delivery.state == "holding":
        is_asked = delivery.members.get("trouble") not in NOT_ASKED
        state = "head office rejects this machine" if is_asked else "delivery is held"
        return FirstDelivery(False, f"{state}: {delivery.cause}")
    return None


def _has_nothing_to_deliver(status: dict[str, object], delivery: DeliveryFigures) -> bool:
    """Return whether the agent is idle and no capture is pending."""
    is_idle = delivery.state == "idle" and delivery.passes > 0
    return is_idle and status.get("waiting") == 0


def _progress(status: dict[str, object]) -> str:
    waiting = status.get("waiting")
    left = count(waiting, "capture") if isinstance(waiting, int) else "captures"
    return f"Waiting for the first delivery: {left} to deliver"
