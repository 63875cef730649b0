"""Whether two request bodies say the same: how a repeat is told from other content."""

import json
from decimal import Decimal, InvalidOperation
from typing import TypeAlias

_Exact: TypeAlias = "bool | Decimal | str | list[_Exact] | dict[str, _Exact] | None"


def same_content(one: bytes, other: bytes) -> bool:
    """Tell whether two JSON texts have the same value.

    White space, the order of members and the way a number is written make no difference.
    """
    if one == other:
        return True
    try:
        return _equal(_exactly(one), _exactly(other))
    except (RecursionError, InvalidOperation, ValueError):
        # Too deeply nested, kept on a page that was damaged since, or a number written with an
        # exponent beyond any use (1E-9999999999 passes for zero): the safe answer is that it
        # is something else.
        return False


def _exactly(body: bytes) -> _Exact:
    document: _Exact = json.loads(body, parse_float=Decimal, parse_int=Decimal)
    return document


def _equal(one: _Exact, other: _Exact) -> bool:
    """Compare without recursion: a till's body may nest as deeply as the parser goes."""
    pairs: list[tuple[_Exact, _Exact]] = [(one, other)]
    while pairs:
        left, right = pairs.pop()
        # Python takes True for 1; JSON does not.
        if type(left) is not type(right):
            return False
        if isinstance(left, dict) and isinstance(right, dict):
            if left.keys() != right.keys():
                return False
            pairs += [(left[name], right[name]) for name in left]
        elif isinstance(left, list) and isinstance(right, list):
            if len(left) != len(right):
                return False
            pairs += zip(left, right, strict=True)
        elif left != right:
            return False
    return True
