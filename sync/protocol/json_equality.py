"""Compares two JSON request bodies by value, to distinguish a retry from a conflict."""

import json
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import TypeAlias

_Exact: TypeAlias = "bool | Decimal | str | list[_Exact] | dict[str, _Exact] | None"


SameText: TypeAlias = Callable[[str, str], bool]


def same_content(one: bytes, other: bytes, *, same_text: SameText | None = None) -> bool:
    """Return whether two JSON texts have the same value.

    White space, member order and number format are ignored. `same_text` compares strings and
    member names; by default they must be equal.
    """
    if one == other:
        return True
    try:
        return _equal(_exactly(one), _exactly(other), same_text or str.__eq__)
    except (RecursionError, InvalidOperation, ValueError):
        # Nested too deeply, corrupted on the disk, or a number with an absurd exponent
        # (1E-9999999999 passes for zero). "Different" is the safe answer.
        return False


def _exactly(body: bytes) -> _Exact:
    document: _Exact = json.loads(body, parse_float=Decimal, parse_int=Decimal)
    return document


def _equal(one: _Exact, other: _Exact, same_text: SameText) -> bool:
    """Compare iteratively: a body may be nested as deeply as the parser allows."""
    pairs: list[tuple[_Exact, _Exact]] = [(one, other)]
    while pairs:
        left, right = pairs.pop()
        # True == 1 in Python, but not in JSON.
        if type(left) is not type(right):
            return False
        if isinstance(left, dict) and isinstance(right, dict):
            names = _paired(left, right, same_text)
            if names is None:
                return False
            pairs += [(left[one_name], right[other_name]) for one_name, other_name in names]
        elif isinstance(left, list) and isinstance(right, list):
            if len(left) != len(right):
                return False
            pairs += zip(left, right, strict=True)
        elif isinstance(left, str) and isinstance(right, str):
            if not same_text(left, right):
                return False
        elif left != right:
            return False
    return True


def _paired(
    left: dict[str, _Exact], right: dict[str, _Exact], same_text: SameText
) -> list[tuple[str, str]] | None:
    """Pair the member names: equal names first, the rest in order; None if they do not match."""
    equal = [(name, name) for name in left if name in right]
    ours = [name for name in left if name not in right]
    theirs = [name for name in right if name not in left]
    if len(ours) != len(theirs):
        return None
    others = list(zip(ours, theirs, strict=True))
    return equal + others if all(same_text(*names) for names in others) else None
