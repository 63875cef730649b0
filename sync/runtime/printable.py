"""Makes text from outside safe to show: on a terminal, in a log, in a table."""

import json

_CUT = "[cut]"


def printable(text: str, max_length: int | None = None) -> str:
    """Return `text` on one line, with every character that is not printable escaped.

    Control characters (C0, C1, ESC) drive a terminal; bidi overrides and other format characters
    make it show another text; lone surrogates cannot be written. The result is cut at
    `max_length`.
    """
    if max_length is not None and len(text) > max_length:
        text = text[:max_length] + _CUT
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def printable_json(text: str) -> str:
    """Return JSON text with characters that are not printable as escapes of JSON.

    A parser reads the same value: outside of strings JSON has no such characters but line breaks
    and tabs, which are kept, except for the carriage return.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _json_form(c) for c in text)


def _json_form(char: str) -> str:
    match char:
        case "\n" | "\t":
            return char
        case "\r":
            return ""
        case "\x7f":
            return r"\u007f"
        case _:
            return json.dumps(char)[1:-1]
