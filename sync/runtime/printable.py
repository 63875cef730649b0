"""Makes text from outside safe to show: on a terminal, in a log, in a table."""

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
