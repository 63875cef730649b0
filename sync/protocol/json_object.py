"""The one reader of JSON bodies, for both ends: head office takes all bodies that the agent takes.

Of duplicate member names the last one counts. The mark of an erased address is written and read
here: the till's own members may have the same names.
"""

import re
from typing import TypeAlias

import msgspec

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

# Beyond this depth a parser's limit depends on the depth of its caller's own stack.
MAX_DEPTH = 500
ADDRESS = "emailAddress"
_ERASED = '{"emailAddress":null,"erased":true'
_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")
_encode = msgspec.json.Encoder().encode
_whole: msgspec.json.Decoder[Json] = msgspec.json.Decoder()
_members: msgspec.json.Decoder[dict[str, msgspec.Raw]] = msgspec.json.Decoder(
    dict[str, msgspec.Raw]
)
# A byte order mark, or the brace that opens an object.
_UTF16_STARTS = (b"\xff\xfe", b"\xfe\xff", b"{\0", b"\0{")
_TOO_DEEP = f"is nested deeper than {MAX_DEPTH} levels"
_MALFORMED = re.compile(r"JSON is malformed: ([a-z ]+) \(byte (\d+)\)")
# MsgspecError: malformed JSON, number out of range. ValueError: invalid UTF-8, a number of
# thousands of digits. RecursionError: nesting deeper than the interpreter's stack.
DECODE_ERRORS = (msgspec.MsgspecError, ValueError, RecursionError)


class NotAnObject(ValueError):  # noqa: N818 - names the fault
    """The text is not a JSON object. The message says why, without quoting the text."""


def read_object(body: bytes | msgspec.Raw) -> dict[str, Json]:
    """Return the members of `body`, a JSON object (RFC 8259) in UTF-8.

    Raises `NotAnObject` for anything else, including numbers beyond the range of a double,
    unpaired surrogates, and nesting deeper than `MAX_DEPTH`.
    """
    try:
        document = _whole.decode(body)
    except DECODE_ERRORS as error:
        raise NotAnObject(_fault(bytes(body), error)) from None
    if not isinstance(document, dict):
        raise NotAnObject(f"is {json_kind(document)}, not an object")
    text = bytes(body)
    if text.count(b"{") + text.count(b"[") > MAX_DEPTH and _is_deeper(document, MAX_DEPTH):
        raise NotAnObject(_TOO_DEEP)
    return document


def json_kind(value: object) -> str:
    """Return the kind of a JSON value, with its article."""
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"


def _fault(text: bytes, error: Exception) -> str:
    """Return why `text` is not JSON, as the rest of a sentence about it."""
    if not text.strip():
        return "is empty"
    if text.startswith(_UTF16_STARTS):
        return "is UTF-16, not UTF-8"
    try:
        text.decode()
    except UnicodeDecodeError:
        return "is not UTF-8"
    if isinstance(error, RecursionError):
        return _TOO_DEEP
    if found := _MALFORMED.match(str(error)):
        at = min(int(found[2]) + 1, len(text))
        return f"is not JSON: {found[1]} at byte {at} of {len(text)}"
    is_number = isinstance(error, msgspec.ValidationError) or not isinstance(
        error, msgspec.MsgspecError
    )
    return "has a number out of range" if is_number else "is not complete JSON"


def encode_ascii(value: object) -> bytes:
    """Return `value` as compact JSON in ASCII.

    A client that guesses the encoding, or decodes no JSON body at all, reads the same text.
    """
    text = _encode(value)
    return text if text.isascii() else escape_ascii(text.decode())


def escape_ascii(text: str) -> bytes:
    """Return JSON text with its other characters, all of them in strings, as UTF-16 escapes."""
    return _NOT_ASCII.sub(_utf16_escapes, text).encode("ascii")


def without_members(body: bytes, *names: str) -> bytes:
    """Return the JSON object `body` without these members; the other values byte for byte."""
    members = _members.decode(body)
    for name in names:
        members.pop(name, None)
    return msgspec.json.encode(members)


def with_address(body: bytes, address: str | None) -> bytes:
    """Return the JSON object `body` with the address as its first member, otherwise unchanged.

    None: the address is erased, which is marked. Raises `NotAnObject`.
    """
    members = _ERASED.encode()
    if address is not None:
        members = f'{{"{ADDRESS}":'.encode() + msgspec.json.encode(address)
    _, brace, rest = body.partition(b"{")
    if not brace:
        raise NotAnObject("is not an object")
    separator = b"" if rest.lstrip().startswith(b"}") else b","
    return members + separator + rest


def without_erasure_mark(text: str) -> str | None:
    """Return the object to which `with_address` gave the mark; None without one."""
    if not text.startswith(_ERASED):
        return None
    return "{" + text.removeprefix(_ERASED).removeprefix(",")


def _utf16_escapes(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def _is_deeper(document: Json, most: int) -> bool:
    level: list[Json] = [document]
    while level:
        if most == 0:
            return True
        most -= 1
        level = [
            inner
            for one in level
            for inner in (one.values() if isinstance(one, dict) else _items(one))
            if isinstance(inner, dict | list)
        ]
    return False


def _items(value: Json) -> "list[Json]":
    return value if isinstance(value, list) else []
