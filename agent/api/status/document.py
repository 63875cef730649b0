"""Typed access to the members of a status document, which may be missing or of another type."""

from collections.abc import Mapping, Sequence

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
