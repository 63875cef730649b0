"""Reads central's error bodies and sanitises their text for storage and display."""

import msgspec

from sync.delivery.transports.http_client import HttpResponse
from sync.protocol.email_masking import without_addresses
from sync.protocol.wire import ErrorBody

_LONGEST_CODE, _LONGEST_MESSAGE = 100, 500
_decoder = msgspec.json.Decoder(ErrorBody)


def parse_problem(answer: HttpResponse) -> ErrorBody | None:
    """Return the three-field error in `answer`; None if it has another shape.

    The text is truncated and e-mail addresses in it are masked, because it is stored in plain
    text with the dead letter.
    """
    try:
        problem = _decoder.decode(answer.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return msgspec.structs.replace(
        problem,
        error_code=sanitise_code(problem.error_code),
        error_message=sanitise(problem.error_message),
    )


def sanitise(words: str, longest: int = _LONGEST_MESSAGE) -> str:
    """Return `words` without addresses and control characters, cut to `longest` characters."""
    readable = "".join(letter if letter.isprintable() else " " for letter in words[: 2 * longest])
    return without_addresses(readable, "(address)")[:longest]


def sanitise_code(code: str) -> str:
    """Return central's error code, sanitised likewise."""
    return sanitise(code, _LONGEST_CODE)
