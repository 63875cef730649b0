"""Reading a request body as a strict JSON object, and taking a member out of one."""

from typing import TypeAlias

import msgspec

from agent.capture.refusals import NOT_AN_OBJECT, Refusal

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

_whole: msgspec.json.Decoder[Json] = msgspec.json.Decoder()
_members: msgspec.json.Decoder[dict[str, msgspec.Raw]] = msgspec.json.Decoder(
    dict[str, msgspec.Raw]
)
# What a body can be wrong in: malformed JSON or a number out of range, broken UTF-8 or
# a number of thousands of digits, nesting deeper than the interpreter's stack.
_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)


def read_object(body: bytes) -> dict[str, Json]:
    """Return the members of `body`, a JSON object by RFC 8259 in UTF-8.

    Of two members with one name the last counts. Raises `Refusal` for anything else,
    numbers beyond a double's range and unpaired surrogates included.
    """
    try:
        document = _whole.decode(body)
    except _UNREADABLE:
        raise Refusal(NOT_AN_OBJECT) from None
    if not isinstance(document, dict):
        raise Refusal(NOT_AN_OBJECT)
    return document


def without_member(body: bytes, name: str) -> bytes:
    """Return the JSON object `body` without the member `name`; the others letter for letter."""
    members = _members.decode(body)
    members.pop(name, None)
    return msgspec.json.encode(members)
