"""Responses of the API: JSON, acknowledgements, errors, headers, and types for their schemas."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Annotated, TypeVar

import msgspec
from aiohttp import web

from agent.capture.refusals import Refusal
from agent.capture.session_start import MAX_CORRELATION_ID_CODE_POINTS
from agent.facts import Receipt
from agent.store.files.storage_errors import StorageError, StorageFullError
from sync.delivery.outbox import OutboxUnavailable
from sync.protocol.rfc3339 import us_to_rfc3339
from sync.protocol.wire import ErrorCode
from sync.runtime.network.http_errors import HttpError, bad_request, generic_error
from sync.runtime.network.http_server import JSON_TYPE

REQUEST_ID = "x-amzn-RequestId"
RECEIPT = "Loyalty-Receipt"
# As in the examples of the loyalty API's documentation (`docs/till-api.md`).
COMMON_HEADERS = {
    "Server": "loyalty-agent",
    "Cache-Control": "no-cache, no-store, must-revalidate",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "sameorigin",
    "Referrer-Policy": "no-referrer",
    "X-XSS-Protection": "1;mode=block",
}
RETRY_AFTER_SECONDS = 1
# The `errorCode` values that a till can get, as in `docs/till-api.md`.
ERROR_CODES = (
    ErrorCode.INVALID_REQUEST,
    ErrorCode.NOT_FOUND,
    ErrorCode.METHOD_NOT_ALLOWED,
    ErrorCode.PAYLOAD_TOO_LARGE,
    ErrorCode.UNSUPPORTED_MEDIA_TYPE,
    ErrorCode.UNAUTHORIZED,
    ErrorCode.FORBIDDEN,
    ErrorCode.INTERNAL_ERROR,
    ErrorCode.UNAVAILABLE,
    ErrorCode.STORAGE_FULL,
    ErrorCode.NOT_CONFIGURED,
)

Time = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]
Epoch = Annotated[str, msgspec.Meta(extra_json_schema={"format": "uuid"})]
Sequence = Annotated[int, msgspec.Meta(ge=1, le=2**53 - 1)]
Count = Annotated[int, msgspec.Meta(ge=0)]
CorrelationId = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=MAX_CORRELATION_ID_CODE_POINTS,
        pattern=r"^[^\u0000-\u001f\u007f-\u009f]+$",
        description="Recommended: a GUID. Not blank, no control character, not . or ..",
    ),
]


_HandlerT = TypeVar("_HandlerT", bound=Callable[..., object])


@dataclass(frozen=True, slots=True)
class Operation:
    """Decorator that describes a handler for `/openapi.json`, beside its name and docstring.

    `answer` is the type of the JSON answer, or a media type. `errors` are those in addition to
    the errors of every operation, `notes` what an error means at this one, `query` the descriptions
    of query parameters, `body` and `links` names of a schema and of other operations.
    """

    answer: object
    errors: tuple[str, ...] = ()
    notes: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None
    links: tuple[str, ...] = ()
    success: HTTPStatus = HTTPStatus.OK
    needs_token: bool = True

    def __call__(self, handler: _HandlerT) -> _HandlerT:
        """Attach this description to `handler`."""
        handler.__dict__["operation"] = self
        return handler

    @classmethod
    def of(cls, handler: Callable[..., object]) -> "Operation":
        """Return the description of a decorated handler."""
        operation: Operation = handler.__dict__["operation"]
        return operation


@dataclass(frozen=True, slots=True)
class CaptureAnswer:
    """The answer to a recorded capture, and its receipt."""

    body: bytes
    receipt: Receipt

    def response(self) -> web.Response:
        """Return it as a regular response."""
        return web.Response(body=self.body, headers=JSON_TYPE | {RECEIPT: str(self.receipt)})


def timestamp(time_us: int) -> str:
    """Format microseconds since 1970 UTC as RFC 3339 with milliseconds."""
    return us_to_rfc3339(time_us, "milliseconds")


def to_http_error(error: Exception) -> HttpError:
    """Map an exception to its error: refusal, storage error, else a generic one."""
    match error:
        case Refusal():
            return bad_request(str(error), error.reason)
        case StorageFullError():
            message = f"The disk is full. The request was not recorded: {error}."
            status = HTTPStatus.INSUFFICIENT_STORAGE
            return HttpError(status, message, ErrorCode.STORAGE_FULL, reason=str(error))
        case StorageError() | OutboxUnavailable():
            return HttpError(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"The storage is not available. The request was not recorded. Retry. ({error})",
                ErrorCode.UNAVAILABLE,
                {"Retry-After": str(RETRY_AFTER_SECONDS)},
                reason=str(error),
            )
        case _:
            return generic_error(error)
