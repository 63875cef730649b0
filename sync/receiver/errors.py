"""Error responses: the three-field JSON body, and the mapping from exceptions to it."""

import logging
from collections.abc import Callable, Mapping
from enum import StrEnum
from http import HTTPStatus
from typing import TypeAlias

import msgspec
from aiohttp import web
from sqlalchemy.exc import SQLAlchemyError

from sync.protocol import wire
from sync.protocol.wire import ErrorCode
from sync.receiver.admission.load_shedding import Overloaded
from sync.receiver.ingest.accept import MalformedBatch
from sync.runtime.logging import log_event

_log = logging.getLogger(__name__)
_AWAY_SECONDS = 5


class OwnCode(StrEnum):
    """Error codes that mean no more to an agent than their HTTP status."""

    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    UNSUPPORTED_MEDIA_TYPE = "UNSUPPORTED_MEDIA_TYPE"
    INTERNAL_ERROR = "INTERNAL_ERROR"


Code: TypeAlias = ErrorCode | OwnCode


class Problem(Exception):  # noqa: N818 - an answer to a caller, not a fault
    """A request refused with an HTTP status, a message, an error code and optional headers."""

    def __init__(
        self,
        status: HTTPStatus,
        message: str,
        code: Code,
        headers: Mapping[str, str] | None = None,
        *,
        expected_sequence: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers = dict(headers or {})
        self.expected_sequence = expected_sequence


def invalid(message: str) -> Problem:
    """Return a 400: the request is malformed."""
    return Problem(HTTPStatus.BAD_REQUEST, message, ErrorCode.INVALID_REQUEST)


def too_large(message: str) -> Problem:
    """Return a 413; an agent halves its batch."""
    return Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message, ErrorCode.PAYLOAD_TOO_LARGE)


_OF_STATUS: Mapping[int, tuple[str, Code]] = {
    400: ("The request is not valid HTTP", ErrorCode.INVALID_REQUEST),
    404: ("There is nothing at this address", ErrorCode.NOT_FOUND),
    405: ("This address does not take this method", OwnCode.METHOD_NOT_ALLOWED),
    413: ("The request is too large", ErrorCode.PAYLOAD_TOO_LARGE),
    417: ("Only the expectation 100-continue can be met", ErrorCode.INVALID_REQUEST),
}


def problem_of(
    error: Exception, outage_retry_after: Callable[[], int] = lambda: _AWAY_SECONDS
) -> Problem:
    """Return the response for an exception.

    `outage_retry_after` supplies the Retry-After while the database is down.
    """
    match error:
        case Problem():
            return error
        case MalformedBatch():
            return invalid(str(error))
        case Overloaded():
            return _too_busy(error.retry_after_seconds)
        case SQLAlchemyError() | OSError():
            return Problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "The ledger cannot be used at the moment: come again later",
                ErrorCode.UNAVAILABLE,
                {"Retry-After": str(outage_retry_after())},
            )
        case web.HTTPException() if error.status in _OF_STATUS:
            message, code = _OF_STATUS[error.status]
            allow = error.headers.get("Allow")
            return Problem(
                HTTPStatus(error.status), message, code, {"Allow": allow} if allow else None
            )
        case _:
            return Problem(
                HTTPStatus.INTERNAL_SERVER_ERROR,
                "The receiver met a fault of its own; nothing was taken",
                OwnCode.INTERNAL_ERROR,
            )


def _too_busy(retry_after_seconds: int) -> Problem:
    return Problem(
        HTTPStatus.TOO_MANY_REQUESTS,
        "Head office has too much to do: come again later",
        ErrorCode.UNAVAILABLE,
        {"Retry-After": str(retry_after_seconds)},
    )


def answer_of(problem: Problem) -> web.Response:
    """Build the HTTP response."""
    body = wire.Problem(
        status_code=problem.status.value,
        error_message=problem.message,
        error_code=problem.code.value,
        expected_sequence=problem.expected_sequence,
    )
    return web.Response(
        status=problem.status,
        body=msgspec.json.encode(body),
        headers={"Content-Type": "application/json", **problem.headers},
    )


def log_problem(problem: Problem, error: Exception, route: str) -> None:
    """Log a request that got an error response.

    Never logs the message or the path: they can contain request data, even an e-mail address.
    """
    fields = {"code": problem.code.value, "route": route, "status": problem.status.value}
    if problem.code is OwnCode.INTERNAL_ERROR:
        _log.error("request.failed", extra={"fields": fields}, exc_info=error)
    elif problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log_event(
            _log,
            logging.ERROR,
            "request.refused",
            reason=_cause(error.__cause__ or error),
            **fields,
        )
    else:
        log_event(_log, logging.INFO, "request.refused", **fields)


def _cause(error: BaseException) -> str:
    # The driver's message only: SQLAlchemy's would contain the statement's parameters.
    return str(getattr(error, "orig", None) or type(error).__name__)
