"""Interprets HTTP responses where both protocols agree: status, Retry-After, error body."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TypeVar

import msgspec

from sync.delivery.backoff import MAX_RETRY_AFTER_SECONDS
from sync.delivery.outcomes import Blocked, BlockedReason, FailureCause, Refused, RetryLater
from sync.delivery.transports.http_client import HttpResponse
from sync.protocol.wire import ErrorBody, ErrorCode, Rejection
from sync.runtime.masking import mask_addresses

T = TypeVar("T")
_OVERLOADED = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}
_TRANSIENT = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY}
_SERVER_ERRORS_FROM, _REDIRECTS = 500, range(300, 400)
_REFUSED_CALLERS = {
    HTTPStatus.UNAUTHORIZED: (BlockedReason.UNAUTHORIZED, "head office rejects the credentials"),
    HTTPStatus.FORBIDDEN: (BlockedReason.FORBIDDEN, "head office denies this agent access"),
}
NO_ENDPOINT = {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED}
TOO_LARGE = Refused(
    ErrorCode.PAYLOAD_TOO_LARGE,
    "exceeds the size limit of head office or of a proxy before it",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
)
_error_body = msgspec.json.Decoder(ErrorBody)


def classify(response: HttpResponse, now: datetime) -> HttpResponse | Blocked | RetryLater:
    """Return the outcome common to both protocols, or `response` itself if there is none."""
    status = response.status
    if status in _REFUSED_CALLERS:
        return _refused_caller(response)
    if status in _OVERLOADED:
        return _retry_later(response, FailureCause.OVERLOADED, now)
    if status in _TRANSIENT or status >= _SERVER_ERRORS_FROM:
        return _retry_later(response, FailureCause.SERVER_ERROR, now)
    if status in _REDIRECTS and status != HTTPStatus.NOT_MODIFIED:
        return unexpected(response, "a redirect")
    return response


def _refused_caller(response: HttpResponse) -> Blocked:
    status = response.status
    error = error_body(response)
    if error is not None and error.error_code == ErrorCode.TOO_MANY_EPOCHS:
        detail = refusal(error, status).error_message
        return Blocked(BlockedReason.TOO_MANY_EPOCHS, detail, status)
    if is_web_page(response):
        detail = f"answered {status} with a web page, which head office does not"
        return Blocked(BlockedReason.GATEWAY, detail, status)
    reason, detail = _REFUSED_CALLERS[HTTPStatus(status)]
    return Blocked(reason, detail, status)


def unexpected(response: HttpResponse, why: str) -> RetryLater:
    """Return the failure for a response that is not central's, for example a proxy's."""
    found = "a web page of a portal or gateway, " if is_web_page(response) else ""
    detail = f"answered {response.status}: {found}{why}"
    return RetryLater(FailureCause.UNEXPECTED_RESPONSE, detail, http_status=response.status)


def is_web_page(response: HttpResponse) -> bool:
    """Return whether `response` is a page for people, and not one that asks for credentials.

    It is not of an API, but of a portal or gateway before it.
    """
    is_page = response.body.lstrip()[:1] == b"<"
    return is_page and "WWW-Authenticate" not in response.headers


def outside_protocol(response: HttpResponse, why: str) -> Blocked | RetryLater:
    """Return `Blocked` for a missing endpoint, a fault of the settings, else `unexpected`."""
    if response.status not in NO_ENDPOINT:
        return unexpected(response, why)
    detail = "no such endpoint: check central.url and central.protocol"
    return Blocked(BlockedReason.NOT_FOUND, detail, response.status)


def decoded(decoder: msgspec.json.Decoder[T], body: bytes) -> T | None:
    """Return the JSON in `body`; None if it is malformed or has another shape."""
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def error_body(response: HttpResponse) -> ErrorBody | None:
    """Return the three-field error in `response`; None if it has another shape."""
    return decoded(_error_body, response.body)


def refusal(error: ErrorBody | Rejection, http_status: int | None) -> Refused:
    """Return central's refusal, its text truncated, without addresses and control characters.

    It is stored in plain text with the dead letter.
    """
    code, message = _sanitised(error.error_code, 100), _sanitised(error.error_message, 500)
    return Refused(code, message, http_status)


def retry_after(header: str | None, date: str | None, now: datetime) -> float | None:
    """Return the seconds of a `Retry-After` header, at most an hour; None if absent or invalid.

    Seconds or an HTTP date (RFC 9110, 10.2.3). A date is relative to the response's own `Date`,
    as our clock may be wrong; to `now` (aware) without one.
    """
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        seconds = float(text[:9])
    else:
        time = http_date(text)
        if time is None:
            return None
        seconds = (time - (http_date(date) or now)).total_seconds()
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)


def http_date(text: str | None) -> datetime | None:
    """Return the aware time of an HTTP date header (RFC 9110, 5.6.7); None if invalid."""
    if text is None:
        return None
    try:
        time = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _retry_later(response: HttpResponse, cause: FailureCause, now: datetime) -> RetryLater:
    headers = response.headers
    seconds = retry_after(headers.get("Retry-After"), headers.get("Date"), now)
    return RetryLater(cause, f"answered {response.status}", seconds, response.status)


def _sanitised(text: str, max_length: int) -> str:
    readable = "".join(char if char.isprintable() else " " for char in text[: 2 * max_length])
    return mask_addresses(readable, "(address)")[:max_length]
