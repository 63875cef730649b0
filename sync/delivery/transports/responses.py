"""Classifies responses by status where both protocols agree: refused caller, transient failure."""

from datetime import datetime
from http import HTTPStatus

from sync.delivery.backoff import retry_after
from sync.delivery.outcomes import Blocked, BlockedReason, FailureCause, RetryLater
from sync.delivery.transports.http_client import HttpResponse

_BUSY = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}
_PASSING = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY}
_FAILED_FROM, _REDIRECTS = 500, range(300, 400)
_REFUSED_CALLERS = {
    HTTPStatus.UNAUTHORIZED: (
        BlockedReason.UNAUTHORIZED,
        "central does not accept the credentials",
    ),
    HTTPStatus.FORBIDDEN: (BlockedReason.FORBIDDEN, "central allows this agent nothing here"),
}


def classify(answer: HttpResponse, now: datetime) -> HttpResponse | Blocked | RetryLater:
    """Return the outcome common to both protocols, or `answer` itself if there is none."""
    status = answer.status
    if status in _REFUSED_CALLERS:
        reason, detail = _REFUSED_CALLERS[HTTPStatus(status)]
        return Blocked(reason, detail, status)
    if status in _BUSY:
        return _later(answer, FailureCause.OVERLOADED, now)
    if status in _PASSING or status >= _FAILED_FROM:
        return _later(answer, FailureCause.SERVER_ERROR, now)
    if status in _REDIRECTS and status != HTTPStatus.NOT_MODIFIED:
        return not_central(answer, "it sends elsewhere")
    return answer


def not_central(answer: HttpResponse, why: str) -> RetryLater:
    """Return the failure for a response that is not central's, for example a proxy's."""
    return RetryLater(
        FailureCause.UNEXPECTED_RESPONSE,
        f"answered {answer.status}: {why}",
        http_status=answer.status,
    )


def no_such_endpoint(answer: HttpResponse) -> Blocked:
    """Return the `Blocked` for a missing endpoint: a wrong URL or protocol in the settings."""
    detail = "the endpoint is not there: central.url or central.protocol may be wrong"
    return Blocked(BlockedReason.NOT_FOUND, detail, answer.status)


def _later(answer: HttpResponse, cause: FailureCause, now: datetime) -> RetryLater:
    headers = answer.headers
    seconds = retry_after(headers.get("Retry-After"), headers.get("Date"), now)
    return RetryLater(cause, f"answered {answer.status}", seconds, answer.status)
