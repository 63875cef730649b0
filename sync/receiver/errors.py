"""Mapping of exceptions to the error answers of head office."""

from collections.abc import Callable
from http import HTTPStatus

from sqlalchemy.exc import SQLAlchemyError

from sync.receiver.admission.load_shedding import OverItsShare, Overloaded
from sync.receiver.ingest.placement import MalformedBatch
from sync.runtime.network.http_errors import (
    HttpError,
    bad_request,
    generic_error,
    too_many_requests,
    unavailable,
)

_OUTAGE_RETRY_SECONDS = 5


def to_http_error(
    error: Exception, outage_retry_after: Callable[[], int] = lambda: _OUTAGE_RETRY_SECONDS
) -> HttpError:
    """Map an exception to its error: malformed, overloaded, database down, else a generic one.

    `outage_retry_after` supplies the Retry-After while the database is down.
    """
    match error:
        case MalformedBatch():
            return bad_request(str(error))
        case OverItsShare():
            message = "This agent sends more than its share"
            return too_many_requests(message, error.retry_after_seconds)
        case Overloaded():
            return too_many_requests("Head office is overloaded", error.retry_after_seconds)
        case SQLAlchemyError() | OSError():
            message = "The database of head office is not available. Retry later."
            return unavailable(message, outage_retry_after(), HTTPStatus.SERVICE_UNAVAILABLE)
        case _:
            return generic_error(error)
