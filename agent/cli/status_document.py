"""Figures of delivery in the agent's status document; missing ones are empty or 0."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from agent.api.status.document import number, section


@dataclass(frozen=True, slots=True)
class DeliveryFigures:
    """The object `sync` of a status document."""

    members: Mapping[str, object]

    @classmethod
    def of(cls, status: Mapping[str, object]) -> Self:
        """Return the delivery state in a status document."""
        return cls(section(status, "sync"))

    @property
    def state(self) -> object:
        """The state, such as `idle` or `delivering`."""
        return self.members.get("state")

    @property
    def passes(self) -> int:
        """The number of passes since the start."""
        return number(self.members, "passes") or 0

    @property
    def delivered(self) -> int:
        """The number of events delivered since the start."""
        return number(self.members, "delivered") or 0

    @property
    def cause(self) -> str:
        """Why captures are pending: the failure with its detail, else the state."""
        detail = self.members.get("detail")
        cause = self.members.get("trouble") or self.state
        return f"{cause} ({detail})" if detail else f"{cause}"
