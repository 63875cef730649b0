"""`Loyalty-Reason`: the cause of an error in words, to debug a till.

One bounded line of printable ASCII. The path of a request is shown without the segments that may
hold personal data or a secret.
"""

import re
from collections.abc import Iterable
from datetime import datetime
from difflib import get_close_matches
from http import HTTPStatus
from itertools import zip_longest

from aiohttp import hdrs, web

from sync.runtime.masking import mask_path, mask_secrets
from sync.runtime.network.http_errors import HttpError
from sync.runtime.printable import printable

REASON = "Loyalty-Reason"
MAX_CHARACTERS = 240
_CUT = "[cut]"
_HIDDEN = "[...]"
_METHOD = re.compile("[A-Z]{1,16}", re.ASCII)
# A path that is as near as a wrong letter or a missing segment.
_NEAR = 0.9


def header_value(reason: str) -> str:
    """Return `reason` as one line of printable ASCII, masked and cut."""
    text = printable(mask_secrets(reason)).encode("ascii", "backslashreplace").decode("ascii")
    return text if len(text) <= MAX_CHARACTERS else text[: MAX_CHARACTERS - len(_CUT)] + _CUT


def reason_of(error: HttpError, request: web.BaseRequest, patterns: Iterable[str]) -> str:
    """Return the cause of `error` in words; `patterns` are the paths of all endpoints."""
    if error.reason is not None:
        return error.reason
    path = mask_path(request.rel_url.raw_path)
    match error.status:
        case HTTPStatus.NOT_FOUND:
            near = _nearest(path.lower(), patterns)
            return f"no endpoint {path}" + (f": did you mean {near}" if near else "")
        case HTTPStatus.METHOD_NOT_ALLOWED:
            method = request.method if _METHOD.fullmatch(request.method) else _HIDDEN
            allowed = error.headers.get(hdrs.ALLOW, "").replace(",", ", ")
            return f"{method} is not supported at {path}: use {allowed}"
        case _:
            return error.message


def _nearest(path: str, patterns: Iterable[str]) -> str | None:
    """Return the pattern nearest to `path`; its `{names}` match any segment."""
    segments = path.split("/")
    filled = {
        "/".join(
            given if one.startswith("{") and given else one
            for one, given in zip_longest(pattern.split("/"), segments[: pattern.count("/") + 1])
        ): pattern
        for pattern in patterns
    }
    filled.pop(path, None)
    return next((filled[one] for one in get_close_matches(path, filled, 1, _NEAR)), None)


def time_of_day(at_us: int | None, now_us: int) -> str:
    """Return a time for a sentence, in the machine's time zone; the date if it is not today's."""
    if at_us is None:
        return "a moment ago"
    try:
        at, now = datetime.fromtimestamp(at_us / 1e6), datetime.fromtimestamp(now_us / 1e6)  # noqa: DTZ006 - local
    except (OverflowError, ValueError, OSError):
        return "before"
    return f"at {at:%H:%M}" if at.date() == now.date() else f"at {at:%Y-%m-%d %H:%M}"
