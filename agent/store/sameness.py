"""Whether two request bodies say the same: how a repeat is told from other content."""

import json
from decimal import Decimal
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
    except RecursionError:
        # Too deeply nested to compare: the safe answer is that it is something else.
        return False


def _exactly(body: bytes) -> _Exact:
    document: _Exact = json.loads(body, parse_float=Decimal, parse_int=Decimal)
    return document


def _equal(one: _Exact, other: _Exact) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[k], other[k]) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    # Python takes True for 1; JSON does not.
    return type(one) is type(other) and one == other
