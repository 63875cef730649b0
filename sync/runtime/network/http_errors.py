"""Errors of an HTTP API: exception, JSON body of three fields, log line."""

import logging
from collections.abc import Mapping
from http import HTTPStatus

from aiohttp import web

from sync.protocol.wire import ErrorBody, ErrorCode
from sync.runtime.logging import log_event
from sync.runtime.network.http_server import json_response
from sync.runtime.network.invalid_http import InvalidHttp

_log = logging.getLogger(__name__)

# Errors that aiohttp raises itself.
_LIBRARY_ERRORS = {
    400: ("The request is not valid HTTP.", ErrorCode.INVALID_REQUEST),
    404: ("No such endpoint.", ErrorCode.NOT_FOUND),
    405: ("This endpoint does not support this method.", ErrorCode.METHOD_NOT_ALLOWED),
    413: ("The request body is too large.", ErrorCode.PAYLOAD_TOO_LARGE),
    417: ("The only supported expectation is 100-continue.", ErrorCode.INVALID_REQUEST),
}


class HttpError(Exception):
    """A request is answered with an error: HTTP status, message, code, extra headers.

    `reason` says the cause in words without quoting the request: it may be logged.
    """

    def __init__(
        self,
        status: HTTPStatus,
        message: str,
        code: ErrorCode,
        headers: Mapping[str, str] | None = None,
        *,
        expected_sequence: int | None = None,
        reason: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers = dict(headers or {})
        self.expected_sequence = expected_sequence
        self.reason = reason


def bad_request(message: str, reason: str | None = None) -> HttpError:
    """Return a 400: the request is malformed."""
    return HttpError(HTTPStatus.BAD_REQUEST, message, ErrorCode.INVALID_REQUEST, reason=reason)


def too_large(message: str, reason: str | None = None) -> HttpError:
    """Return a 413: the body is over the limit."""
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    return HttpError(status, message, ErrorCode.PAYLOAD_TOO_LARGE, reason=reason)


def timed_out(message: str) -> HttpError:
    """Return a 408 that ends the connection: the body did not arrive in time."""
    status, headers = HTTPStatus.REQUEST_TIMEOUT, {"Connection": "close"}
    return HttpError(status, message, ErrorCode.INVALID_REQUEST, headers)


def unavailable(message: str, retry_after_seconds: int, status: HTTPStatus) -> HttpError:
    """Return a 429 or 503 with Retry-After."""
    headers = {"Retry-After": str(retry_after_seconds)}
    return HttpError(status, message, ErrorCode.UNAVAILABLE, headers)


def too_many_requests(message: str, retry_after_seconds: int) -> HttpError:
    """Return a 429; the message goes on with when to retry."""
    message = f"{message}. Retry after the time in Retry-After."
    return unavailable(message, retry_after_seconds, HTTPStatus.TOO_MANY_REQUESTS)


def generic_error(error: Exception) -> HttpError:
    """Convert any exception; one that is not of HTTP is an internal error."""
    match error:
        case HttpError():
            return error
        case web.HTTPException() if error.status in _LIBRARY_ERRORS:
            message, code = _LIBRARY_ERRORS[error.status]
            allow = error.headers.get("Allow")
            headers = {"Allow": allow} if allow else None
            reason = error.words if isinstance(error, InvalidHttp) else None
            return HttpError(HTTPStatus(error.status), message, code, headers, reason=reason)
        case _:
            message = "Internal error. The request was not processed."
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            return HttpError(status, message, ErrorCode.INTERNAL_ERROR)


def error_response(error: HttpError) -> web.Response:
    """Return the response for an error."""
    body = ErrorBody(
        status_code=error.status.value,
        error_message=error.message,
        error_code=error.code.value,
        expected_sequence=error.expected_sequence,
    )
    response = json_response(body, error.status)
    response.headers.update(error.headers)
    return response


def log_error(error: HttpError, cause: Exception, route: str, **fields: object) -> None:
    """Log a request that was answered with `error`, converted from `cause`.

    Never logs the error message or the path: they can quote the request, and so an address. The
    caller may pass a `reason` that does not.
    """
    fields |= {"code": error.code.value, "route": route, "status": error.status.value}
    if error.code is ErrorCode.INTERNAL_ERROR:
        _log.error("request.failed", extra={"fields": fields}, exc_info=cause)
    elif error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        fields = {"reason": _reason(cause.__cause__ or cause)} | fields
        log_event(_log, logging.ERROR, "request.refused", **fields)
    else:
        log_event(_log, logging.INFO, "request.refused", **fields)


def _reason(error: BaseException) -> str:
    # The database driver's message. SQLAlchemy's would quote the values of the statement.
    return str(getattr(error, "orig", None) or type(error).__name__)
