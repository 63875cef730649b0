"""Thrift's compact protocol, as far as the metadata of a Parquet file needs it.

https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

_TRUE, _FALSE, _I32, _I64, _BINARY, _LIST, _STRUCT = 1, 2, 5, 6, 8, 9, 12
_SHORT_LIST = 15
_SHORT_DELTA = 15
_LOW_BITS = 0x7F


class Value(NamedTuple):
    """An encoded value and its type."""

    kind: int
    data: bytes


def boolean(value: bool) -> Value:  # noqa: FBT001 - the value to encode
    """Encode a member of a struct: its type is its value."""
    return Value(_TRUE if value else _FALSE, b"")


def i32(number: int) -> Value:
    """Encode a 32-bit integer."""
    return Value(_I32, _zigzag(number))


def i64(number: int) -> Value:
    """Encode a 64-bit integer."""
    return Value(_I64, _zigzag(number))


def string(text: str) -> Value:
    """Encode a text as UTF-8."""
    data = text.encode()
    return Value(_BINARY, varint(len(data)) + data)


def sequence(values: Sequence[Value]) -> Value:
    """Encode a list; its values are of one type."""
    kind = values[0].kind if values else _STRUCT
    size = len(values)
    if size < _SHORT_LIST:
        head = bytes((size << 4 | kind,))
    else:
        head = bytes((_SHORT_LIST << 4 | kind,)) + varint(size)
    return Value(_LIST, head + b"".join(value.data for value in values))


def struct(members: Mapping[int, Value]) -> Value:
    """Encode a struct from its members by field id, in ascending order."""
    parts, before = bytearray(), 0
    for number, value in members.items():
        delta = number - before
        if 0 < delta <= _SHORT_DELTA:
            parts.append(delta << 4 | value.kind)
        else:
            parts.append(value.kind)
            parts += _zigzag(number)
        parts += value.data
        before = number
    return Value(_STRUCT, bytes(parts) + b"\0")


def varint(number: int) -> bytes:
    """Encode a number that is not negative, seven bits a byte, the lowest first."""
    parts = bytearray()
    while number > _LOW_BITS:
        parts.append(number & _LOW_BITS | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def _zigzag(number: int) -> bytes:
    return varint(number << 1 if number >= 0 else (-number << 1) - 1)
