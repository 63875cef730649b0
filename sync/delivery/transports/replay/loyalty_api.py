"""Client side of the loyalty API: builds its two requests, interprets its responses. Pure.

Follows `docs/till-api.md`, delivery to a backend included. A response in any other shape is not
accepted as central's.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import NamedTuple, TypeAlias, assert_never
from urllib.parse import quote

import msgspec

from sync.delivery.outbox import OutboxEvent
from sync.delivery.outcomes import Blocked, Delivered, Refused, RetryLater, Verdict
from sync.delivery.transports.http_client import HttpResponse
from sync.delivery.transports.responses import (
    TOO_LARGE,
    decoded,
    error_body,
    outside_protocol,
    refusal,
)
from sync.protocol.wire import EventType

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

_EMAIL_UPDATED = "Email option updated."
# No sensible body limit is below this: a 413 for so few bytes means that everything is refused.
SMALL_BYTES = 1_024
_UNKNOWN_SESSION = "/client/users/00000000-0000-0000-0000-000000000000/profile/email"
_INVALID_STATUS = b'{"status":"asked by loyalty-agent"}'
SESSIONS_PATH = "/client/users/anonymous/sessions"
_SUCCESS = {
    EventType.SESSION_STARTED: {HTTPStatus.OK, HTTPStatus.CREATED},
    EventType.EMAIL_ANSWERED: {HTTPStatus.OK},
}
_REFUSALS = {
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.CONFLICT,
    HTTPStatus.UNPROCESSABLE_ENTITY,
}
_json_object: msgspec.json.Decoder[dict[str, Json]] = msgspec.json.Decoder(dict)


class ApiRequest(NamedTuple):
    """A request of the API; `path` is percent-encoded and includes the query."""

    method: str
    path: str
    body: bytes


def request_of(event: OutboxEvent) -> ApiRequest:
    """Return the request for `event`, with the till's original body."""
    match event.type:
        case EventType.SESSION_STARTED:
            locale = event.query_locale
            query = "" if locale is None else f"?locale={quote(locale, safe='')}"
            return ApiRequest("POST", SESSIONS_PATH + query, event.body)
        case EventType.EMAIL_ANSWERED:
            name = quote(event.correlation_id, safe="")
            return ApiRequest("PUT", f"/client/users/{name}/profile/email", event.body)
        case _:
            assert_never(event.type)


def request_without_effect(size: int) -> ApiRequest:
    """Return a request of about `size` bytes without effect at central.

    Its session does not exist and its status is invalid.
    """
    return ApiRequest("PUT", _UNKNOWN_SESSION, _INVALID_STATUS.ljust(size))


def interpret_without_effect(response: HttpResponse) -> Blocked | RetryLater | None:
    """Return how a request without effect failed; None if central refused it as it must."""
    is_refused = response.status in _REFUSALS and error_body(response) is not None
    return None if is_refused else outside_protocol(response, "not the loyalty API's response")


def json_object(body: bytes) -> Mapping[str, Json] | None:
    """Return the JSON object in `body`, or None."""
    return decoded(_json_object, body)


def interpret(
    event: OutboxEvent,
    response: HttpResponse,
    document: Mapping[str, Json] | None,
    *,
    in_doubt: bool,
) -> Verdict | Blocked | RetryLater:
    """Return the outcome for `event` from `response` and its JSON `document`.

    `in_doubt`: an earlier attempt may have been delivered. Then "already" means that central has
    this event, unless it answered the same before that attempt.
    """
    status = response.status
    if status in _SUCCESS[event.type] and document is not None and _echoes(event, document):
        return Delivered()
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return TOO_LARGE
    error = error_body(response) if status in _REFUSALS else None
    if error is not None:
        refused = refusal(error, status)
        return _verdict_in_doubt(event, refused) if in_doubt else refused
    return outside_protocol(response, "not the loyalty API's response")


def _echoes(event: OutboxEvent, document: Mapping[str, Json]) -> bool:
    if event.type is EventType.SESSION_STARTED:
        return document.get("sessionCorrelationId") == event.correlation_id
    return document.get("message") == _EMAIL_UPDATED


def _verdict_in_doubt(event: OutboxEvent, refused: Refused) -> Verdict:
    """Return the verdict for an event in doubt that central refused with `refused`.

    The same refusal as before the attempt in doubt is about another record in the way. Compare
    status and code only: messages can contain ids that differ each time.
    """
    before = event.refusal
    is_same_as_before = (
        before is not None
        and _says_already(before)
        and (before.http_status, before.error_code) == (refused.http_status, refused.error_code)
    )
    if is_same_as_before or not _says_already(refused):
        return refused
    return Delivered(assumed=True)


def _says_already(refused: Refused) -> bool:
    words = f"{refused.error_code} {refused.error_message}".lower()
    return refused.http_status == HTTPStatus.CONFLICT or "already" in words
