"""Client side of the loyalty API: builds its two requests, interprets its responses. Pure.

Follows `reference/`: start-anonymous-session, set-email, and the README's section on the central
backend. A response in any other shape is not accepted as central's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeAlias, assert_never
from urllib.parse import quote

import msgspec

from sync.delivery.outbox import OutboxEvent
from sync.delivery.outcomes import Blocked, BlockedReason, Delivered, Refused, RetryLater, Verdict
from sync.delivery.transports.http_client import HttpResponse
from sync.delivery.transports.rejections import parse_problem
from sync.delivery.transports.responses import no_such_endpoint, not_central
from sync.protocol.wire import ErrorCode, EventType

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

_EMAIL_UPDATED = "Email option updated."
# No sensible body limit is below this: a 413 for so few bytes means that everything is refused.
SMALL_BYTES = 1_024
_NO_SESSION = "/client/users/00000000-0000-0000-0000-000000000000/profile/email"
_NO_STATUS = b'{"status":"asked by loyalty-agent"}'
SESSIONS_PATH = "/client/users/anonymous/sessions"
_TAKEN = {
    EventType.SESSION_STARTED: {HTTPStatus.OK, HTTPStatus.CREATED},
    EventType.EMAIL_ANSWERED: {HTTPStatus.OK},
}
_FINAL = {
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.CONFLICT,
    HTTPStatus.UNPROCESSABLE_ENTITY,
}
_NO_ENDPOINT = {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED}
_TOO_LARGE = Refused(
    ErrorCode.PAYLOAD_TOO_LARGE,
    "too large for central, or for something on the way to it",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
)
_document: msgspec.json.Decoder[dict[str, Json]] = msgspec.json.Decoder(dict)


@dataclass(frozen=True, slots=True)
class ApiRequest:
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
    return ApiRequest("PUT", _NO_SESSION, _NO_STATUS.ljust(size))


def every_request_refused(size: int) -> Blocked:
    """Return the `Blocked` for an agent whose every request of `size` bytes gets a 413."""
    detail = (
        f"every request is refused as too large, one of {size} bytes too: something on the way to"
        " central has too low a limit"
    )
    return Blocked(BlockedReason.UNKNOWN_PROTOCOL, detail, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)


def json_object(body: bytes) -> Mapping[str, Json] | None:
    """Return the JSON object in `body`, or None."""
    try:
        return _document.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def interpret(
    event: OutboxEvent, answer: HttpResponse, document: Mapping[str, Json] | None, *, in_doubt: bool
) -> Verdict | Blocked | RetryLater:
    """Return the outcome for `event` from `answer` and its JSON `document`.

    `in_doubt`: an earlier attempt may have been delivered. Then "already" means that central has
    this event, unless it answered the same before that attempt.
    """
    if answer.status in _TAKEN[event.type] and document is not None and _echoes(event, document):
        return Delivered()
    if answer.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return _TOO_LARGE
    problem = parse_problem(answer) if answer.status in _FINAL else None
    if problem is not None:
        refused = Refused(problem.error_code, problem.error_message, answer.status)
        return _assumed(event, refused) if in_doubt else refused
    if answer.status in _NO_ENDPOINT:
        return no_such_endpoint(answer)
    return not_central(answer, "not the loyalty API's answer")


def _echoes(event: OutboxEvent, document: Mapping[str, Json]) -> bool:
    if event.type is EventType.SESSION_STARTED:
        return document.get("sessionCorrelationId") == event.correlation_id
    return document.get("message") == _EMAIL_UPDATED


def _assumed(event: OutboxEvent, refused: Refused) -> Verdict:
    """Return the verdict for an event in doubt that central refused with `refused`.

    The same refusal as before the attempt in doubt is about another record in the way. Compare
    status and code only: messages can contain ids that differ each time.
    """
    if not _says_already(refused):
        return refused
    before = event.refusal
    if before is not None and _says_already(before) and _kind(before) == _kind(refused):
        return refused
    return Delivered(assumed=True)


def _kind(refused: Refused) -> tuple[int | None, str]:
    return refused.http_status, refused.error_code


def _says_already(refused: Refused) -> bool:
    words = f"{refused.error_code} {refused.error_message}".lower()
    return refused.http_status == HTTPStatus.CONFLICT or "already" in words
