"""Compares two JSON request bodies by value, to distinguish a retry from a conflict."""

import json
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import TypeAlias

_Json: TypeAlias = "bool | Decimal | str | list[_Json] | dict[str, _Json] | None"


TextEquality: TypeAlias = Callable[[str, str], bool]


def json_equal(one: bytes, other: bytes, *, equal_text: TextEquality | None = None) -> bool:
    """Return whether two JSON texts have the same value.

    White space, member order and number format are ignored. `equal_text` compares strings and
    member names; by default they must be equal.
    """
    if one == other:
        return True
    try:
        return _equal(_parse_exact(one), _parse_exact(other), equal_text or str.__eq__)
    except (RecursionError, InvalidOperation, ValueError):
        # Nested too deeply, corrupted on the disk, or a number with an absurd exponent
        # (1E-9999999999 passes for zero). "Different" is the safe answer.
        return False


def _parse_exact(body: bytes) -> _Json:
    document: _Json = json.loads(body, parse_float=Decimal, parse_int=Decimal)
    return document


def _equal(one: _Json, other: _Json, equal_text: TextEquality) -> bool:
    """Compare iteratively: a body may be nested as deeply as the parser allows."""
    pairs: list[tuple[_Json, _Json]] = [(one, other)]
    while pairs:
        left, right = pairs.pop()
        # True == 1 in Python, but not in JSON.
        if type(left) is not type(right):
            return False
        if isinstance(left, dict) and isinstance(right, dict):
            names = _pair_names(left, right, equal_text)
            if names is None:
                return False
            pairs += [(left[one_name], right[other_name]) for one_name, other_name in names]
        elif isinstance(left, list) and isinstance(right, list):
            if len(left) != len(right):
                return False
            pairs += zip(left, right, strict=True)
        elif isinstance(left, str) and isinstance(right, str):
            if not equal_text(left, right):
                return False
        elif left != right:
            return False
    return True


def _pair_names(
    left: dict[str, _Json], right: dict[str, _Json], equal_text: TextEquality
) -> list[tuple[str, str]] | None:
    """Pair the member names: equal names first, the rest in order; None if they do not match."""
    equal = [(name, name) for name in left if name in right]
    ours = [name for name in left if name not in right]
    theirs = [name for name in right if name not in left]
    if len(ours) != len(theirs):
        return None
    others = list(zip(ours, theirs, strict=True))
    return equal + others if all(equal_text(*names) for names in others) else None
