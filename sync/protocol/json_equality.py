"""Compares JSON request bodies by value, to distinguish a retry from a conflict.

Two bodies with `json_equal` have the same `canonical_json`, so that a digest of it finds the
bodies that can be equal.
"""

import json
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import TypeAlias

_Json: TypeAlias = "bool | Decimal | str | list[_Json] | dict[str, _Json] | None"
# Prefix of values that are no strings of the body: strings rarely begin with NUL.
_NUL = "\0"
_MASK = f"{_NUL}masked"
# Beyond this depth the result would depend on how deep the caller's own stack is.
_MAX_DEPTH = 100

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


def canonical_json(body: str, is_masked: Callable[[str], bool]) -> bytes | None:
    """Return a text that all bodies with an equal value share; None if it cannot be determined.

    Strings and member names for which `is_masked` returns true count as equal to each other. It
    must be true of a text that contains one of which it is true.
    """
    try:
        document = _decoder.decode(body)
        # In JSON any character can be written as a \u escape.
        has_none = "\\u" not in body and not is_masked(body)
        if not has_none or body.count("{") + body.count("[") > _MAX_DEPTH:
            document = _masked(document, is_masked)
        return _encoder.encode(document).encode()
    except (RecursionError, InvalidOperation, ValueError):
        return None


class _Number(str):
    """A number in canonical form, encoded as a string."""

    __slots__ = ()


def _canonical_int(text: str) -> _Number:
    return _number("-" if text.startswith("-") else "", text.removeprefix("-"), 0)


def _canonical_float(text: str) -> _Number:
    sign, digits, exponent = Decimal(text).as_tuple()
    if not isinstance(exponent, int):
        raise ValueError("not a finite number")  # noqa: TRY004 - of JSON, not of Python
    return _number("-" if sign else "", "".join(map(str, digits)), exponent)


def _number(sign: str, digits: str, exponent: int) -> _Number:
    significant = digits.rstrip("0")
    if not significant:
        return _Number(f"{_NUL}0")
    return _Number(f"{_NUL}{sign}{significant}E{exponent + len(digits) - len(significant)}")


# Made once: making them takes as long as decoding a usual body.
_decoder = json.JSONDecoder(parse_float=_canonical_float, parse_int=_canonical_int)
_encoder = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


def _masked(value: _Json, is_masked: Callable[[str], bool], depth: int = 0) -> object:
    if depth > _MAX_DEPTH:
        raise ValueError("nested too deeply")
    if isinstance(value, dict):
        names = [name for name in value if not is_masked(name)]
        members: dict[str, object] = {
            name: _masked(value[name], is_masked, depth + 1) for name in names
        }
        # Of the masked names only the number counts: they cannot be told apart.
        return members if len(names) == len(value) else members | {_MASK: len(value) - len(names)}
    if isinstance(value, list):
        return [_masked(one, is_masked, depth + 1) for one in value]
    if isinstance(value, str) and not isinstance(value, _Number) and is_masked(value):
        return _MASK
    return value


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
