"""Error responses reveal no internals."""

import logging

import msgspec
import pytest
from aiohttp import web
from sqlalchemy.exc import OperationalError

from sync.receiver.admission.load_shedding import Overloaded
from sync.receiver.errors import to_http_error
from sync.receiver.ingest.placement import MalformedBatch
from sync.runtime.network.http_errors import bad_request, error_response, log_error, too_large

ADDRESS = "guest@example.com"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (bad_request("x"), 400, "INVALID_REQUEST"),
        (MalformedBatch("x"), 400, "INVALID_REQUEST"),
        (too_large("x"), 413, "PAYLOAD_TOO_LARGE"),
        (Overloaded(7), 429, "UNAVAILABLE"),
        (OperationalError("x", {}, Exception("locked")), 503, "UNAVAILABLE"),
        (OSError("no space left"), 503, "UNAVAILABLE"),
        (web.HTTPNotFound(), 404, "NOT_FOUND"),
        (web.HTTPMethodNotAllowed("PUT", ["GET"]), 405, "METHOD_NOT_ALLOWED"),
        (web.HTTPRequestEntityTooLarge(1, 2), 413, "PAYLOAD_TOO_LARGE"),
        (web.HTTPExpectationFailed(), 417, "INVALID_REQUEST"),
        (web.HTTPGone(), 500, "INTERNAL_ERROR"),
        (KeyError("x"), 500, "INTERNAL_ERROR"),
    ],
)
def test_every_error_has_the_three_fields(error: Exception, status: int, code: str) -> None:
    answer = error_response(to_http_error(error))

    assert isinstance(answer.body, bytes)
    members = msgspec.json.decode(answer.body)
    assert list(members) == ["statusCode", "errorMessage", "errorCode"]
    assert (answer.status, members["statusCode"], members["errorCode"]) == (status, status, code)


@pytest.mark.parametrize("error", [Overloaded(7), OSError("no space left")])
def test_overload_and_outage_carry_retry_after(error: Exception) -> None:
    assert int(error_response(to_http_error(error)).headers["Retry-After"]) > 0


def test_wrong_method_lists_the_allowed_ones() -> None:
    answer = error_response(to_http_error(web.HTTPMethodNotAllowed("PUT", ["GET"])))

    assert answer.headers["Allow"] == "GET"


@pytest.mark.parametrize(
    "error",
    [
        bad_request(ADDRESS),
        MalformedBatch(ADDRESS),
        OperationalError(f"INSERT {ADDRESS}", {"address": ADDRESS}, Exception("locked")),
        OSError(f"{ADDRESS} is no file"),
    ],
)
def test_log_line_of_an_error_contains_no_request_data(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    log_error(to_http_error(error), error, "POST /sync/v1/batches")

    [record] = caplog.records
    assert ADDRESS not in str(record.__dict__)


@pytest.mark.parametrize(
    "error", [OperationalError(ADDRESS, {}, Exception(ADDRESS)), OSError(ADDRESS)]
)
def test_error_of_a_failed_database_does_not_quote_it(error: Exception) -> None:
    assert ADDRESS not in to_http_error(error).message
