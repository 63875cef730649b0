"""Central's own words for why it refuses something, made fit to be kept and shown."""

import msgspec

from sync.delivery.transports.http import Answer
from sync.protocol.email_masking import without_addresses
from sync.protocol.wire import Problem

_LONGEST_CODE, _LONGEST_MESSAGE = 100, 500
_decoder = msgspec.json.Decoder(Problem)


def problem_in(answer: Answer) -> Problem | None:
    """Return the three-field error in `answer`; None where it is not in that shape.

    Its words are cut to a bearable length, and e-mail addresses in them are masked: they are
    kept with the dead letter, in plain sight.
    """
    try:
        problem = _decoder.decode(answer.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return msgspec.structs.replace(
        problem,
        error_code=fit_code(problem.error_code),
        error_message=fit(problem.error_message),
    )


def fit(words: str, longest: int = _LONGEST_MESSAGE) -> str:
    """Return central's `words` without addresses and control characters, cut to `longest`."""
    readable = "".join(letter if letter.isprintable() else " " for letter in words[: 2 * longest])
    return without_addresses(readable, "(address)")[:longest]


def fit_code(code: str) -> str:
    """Return central's error code, made fit likewise."""
    return fit(code, _LONGEST_CODE)
