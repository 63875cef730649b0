"""Typed access to the members of a status document, which may be missing or of another type."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

Members = Mapping[str, object]


def section(members: Members, name: str) -> Members:
    """Return a member that is an object; an empty one if it is not."""
    value = members.get(name)
    return value if isinstance(value, Mapping) else {}


def sections(members: Members, name: str) -> list[Members]:
    """Return the objects of a member that is a list."""
    value = members.get(name)
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def number(members: Members, name: str) -> int | None:
    """Return a member that is an integer, else None."""
    value = members.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def names(members: Members, name: str) -> list[str]:
    """Return the elements of a member that is a list."""
    value = members.get(name)
    return [str(one) for one in value] if isinstance(value, list) else []


@dataclass(frozen=True, slots=True)
class DeliveryFigures:
    """The object `sync` of a status document."""

    members: Members

    @classmethod
    def of(cls, status: Members) -> Self:
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


def lost_captures(lost: Members) -> int | None:
    """Return how many captures of an element of `lost` are lost; None if it does not say."""
    count = number(lost, "captures")
    first, last = number(lost, "firstSequence"), number(lost, "lastSequence")
    if count is None and first is not None and last is not None:
        return last - first + 1  # of an agent of an earlier version
    return count


def places(quarantined: Sequence[str]) -> str:
    """Return the paths of quarantined databases."""
    return ", ".join(f"set-aside/{name}" for name in quarantined)
