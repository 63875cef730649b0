"""Mapping of exceptions to the error answers of the till API."""

from http import HTTPStatus

from aiohttp import web

from agent.capture.refusals import Refusal
from agent.store.files.storage_errors import StorageError, StorageFullError
from sync.protocol.wire import ErrorCode
from sync.runtime.http_errors import HttpError, generic_error

RETRY_AFTER_SECONDS = 1
# The `errorCode` values that a till can get, of the reference pages and of the agent itself.
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


def to_http_error(error: Exception) -> HttpError:
    """Map an exception to its error: refusal, storage error, else a generic one."""
    match error:
        case Refusal():
            return HttpError(HTTPStatus.BAD_REQUEST, str(error), ErrorCode.INVALID_REQUEST)
        case StorageFullError():
            message = "The disk is full. The request was not recorded."
            return HttpError(HTTPStatus.INSUFFICIENT_STORAGE, message, ErrorCode.STORAGE_FULL)
        case StorageError():
            return HttpError(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "The storage is not available. The request was not recorded. Retry.",
                ErrorCode.UNAVAILABLE,
                {"Retry-After": str(RETRY_AFTER_SECONDS)},
            )
        case web.HTTPRequestEntityTooLarge():
            message = "The request body is larger than 16 KiB."
            return HttpError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message, ErrorCode.PAYLOAD_TOO_LARGE
            )
        case _:
            return generic_error(error)
