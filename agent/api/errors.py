"""Errors as the three-field JSON body of the reference pages."""

import logging
from collections.abc import Mapping
from enum import StrEnum
from http import HTTPStatus

import msgspec
from aiohttp import web

from agent.capture.refusals import Refusal
from agent.store.files.storage_errors import StorageError, StorageFullError
from sync.runtime.logging import log_event

_log = logging.getLogger(__name__)
RETRY_AFTER_SECONDS = 1


class ErrorCode(StrEnum):
    """Values of `errorCode`, from the reference pages and `reference/README.md`."""

    INVALID_REQUEST = "INVALID_REQUEST"
    NOT_FOUND = "NOT_FOUND"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    PAYLOAD_TOO_LARGE = "PAYLOAD_TOO_LARGE"
    UNSUPPORTED_MEDIA_TYPE = "UNSUPPORTED_MEDIA_TYPE"
    UNAUTHORIZED = "UNAUTHORIZED"
    FORBIDDEN = "FORBIDDEN"
    INTERNAL_ERROR = "INTERNAL_ERROR"
    UNAVAILABLE = "UNAVAILABLE"
    STORAGE_FULL = "STORAGE_FULL"
    NOT_CONFIGURED = "NOT_CONFIGURED"


class Problem(Exception):  # noqa: N818 - an answer to a till, not a bug
    """An error answer: HTTP status, message, error code, additional headers."""

    def __init__(
        self,
        status: HTTPStatus,
        message: str,
        code: ErrorCode,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers = dict(headers or {})


_OF_STATUS = {
    HTTPStatus.NOT_FOUND: ("There is nothing at this address", ErrorCode.NOT_FOUND),
    HTTPStatus.METHOD_NOT_ALLOWED: (
        "This address does not take this method",
        ErrorCode.METHOD_NOT_ALLOWED,
    ),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: (
        "Request body is larger than 16 KiB",
        ErrorCode.PAYLOAD_TOO_LARGE,
    ),
    HTTPStatus.EXPECTATION_FAILED: (
        "Only the expectation 100-continue can be met",
        ErrorCode.INVALID_REQUEST,
    ),
    HTTPStatus.BAD_REQUEST: ("The request is not valid HTTP", ErrorCode.INVALID_REQUEST),
}


def problem_of_status(status: int, headers: Mapping[str, str] | None = None) -> Problem:
    """Return the problem for a status set by aiohttp."""
    if status in _OF_STATUS:
        message, code = _OF_STATUS[HTTPStatus(status)]
        return Problem(HTTPStatus(status), message, code, headers)
    return Problem(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "The agent met a fault of its own; the request was not recorded",
        ErrorCode.INTERNAL_ERROR,
    )


def problem_of(error: Exception) -> Problem:
    """Map an exception to a problem: refusal, storage error, aiohttp error or internal error."""
    match error:
        case Problem():
            return error
        case Refusal():
            return Problem(HTTPStatus.BAD_REQUEST, str(error), ErrorCode.INVALID_REQUEST)
        case StorageFullError():
            return Problem(
                HTTPStatus.INSUFFICIENT_STORAGE,
                "The disk is full: nothing was recorded",
                ErrorCode.STORAGE_FULL,
            )
        case StorageError():
            return Problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "Nothing can be recorded at the moment: ask again",
                ErrorCode.UNAVAILABLE,
                {"Retry-After": str(RETRY_AFTER_SECONDS)},
            )
        case web.HTTPException():
            allow = error.headers.get("Allow")
            return problem_of_status(error.status, {"Allow": allow} if allow else None)
        case _:
            return problem_of_status(HTTPStatus.INTERNAL_SERVER_ERROR)


def answer_of(problem: Problem) -> web.Response:
    """Return the response for a problem."""
    body = {
        "statusCode": problem.status.value,
        "errorMessage": problem.message,
        "errorCode": problem.code.value,
    }
    return web.Response(
        status=problem.status,
        body=msgspec.json.encode(body),
        headers={"Content-Type": "application/json", **problem.headers},
    )


def log_problem(problem: Problem, error: Exception | None, route: str, request_id: str) -> None:
    """Log a request that was answered with an error.

    Never logs the message or the path: both can contain text from a till, even an address.
    """
    fields = {"code": problem.code.value, "route": route, "request_id": request_id}
    if problem.code is ErrorCode.INTERNAL_ERROR:
        _log.error("request.failed", extra={"fields": fields}, exc_info=error)
    else:
        level = logging.INFO if problem.status < HTTPStatus.INTERNAL_SERVER_ERROR else logging.ERROR
        log_event(_log, level, "request.refused", status=problem.status.value, **fields)
