"""Parse request bodies as strict JSON objects, and remove a member without other changes."""

from typing import TypeAlias

import msgspec

from agent.capture.refusals import NOT_AN_OBJECT, Refusal

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

_whole: msgspec.json.Decoder[Json] = msgspec.json.Decoder()
_members: msgspec.json.Decoder[dict[str, msgspec.Raw]] = msgspec.json.Decoder(
    dict[str, msgspec.Raw]
)
# MsgspecError: malformed JSON, number out of range. ValueError: invalid UTF-8, a number of
# thousands of digits. RecursionError: nesting deeper than the interpreter's stack.
_PARSE_ERRORS = (msgspec.MsgspecError, ValueError, RecursionError)


def parse_object(body: bytes) -> dict[str, Json]:
    """Return the members of `body`, a JSON object (RFC 8259) in UTF-8.

    The last of duplicate member names wins. Raises `Refusal` for anything else, including
    numbers beyond the range of a double and unpaired surrogates.
    """
    try:
        document = _whole.decode(body)
    except _PARSE_ERRORS:
        raise Refusal(NOT_AN_OBJECT) from None
    if not isinstance(document, dict):
        raise Refusal(NOT_AN_OBJECT)
    return document


def without_member(body: bytes, name: str) -> bytes:
    """Return the JSON object `body` without the member `name`; other values byte for byte."""
    members = _members.decode(body)
    members.pop(name, None)
    return msgspec.json.encode(members)
