"""Answers of the sandbox itself: errors in the agent's own form, and the marks of a sandbox."""

import uuid
from http import HTTPStatus

from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

from agent.api.reasons import REASON, header_value
from agent.api.responses import COMMON_HEADERS, REQUEST_ID, to_http_error
from agent.sandbox.faults import FaultKind
from agent.store.files.storage_errors import StorageDownError, StorageFullError
from sync.protocol.wire import ErrorCode
from sync.runtime.network.http_errors import HttpError, bad_request, error_response

SANDBOX = "Loyalty-Sandbox"
NOTICE = "SANDBOX: not the agent of a store. Nothing here reaches head office."
_ASKED = "asked of the sandbox"
ERRORS: dict[FaultKind, Exception] = {
    FaultKind.REFUSED: bad_request("Invalid Correlation ID", _ASKED),
    FaultKind.UNAVAILABLE: StorageDownError(_ASKED),
    FaultKind.FULL: StorageFullError(_ASKED),
}
# Between two programs only (RFC 9110, 7.6.1); the length is counted again.
_HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "upgrade", "te", "trailer", "content-length"}
)


def error_answer(error: Exception) -> web.Response:
    """Return the answer that the agent would give for `error`."""
    converted = to_http_error(error)
    answer = error_response(converted)
    answer.headers.update(COMMON_HEADERS)
    answer.headers[REQUEST_ID] = str(uuid.uuid4())
    answer.headers[REASON] = header_value(converted.reason or converted.message)
    answer.headers[SANDBOX] = NOTICE
    return answer


def bad_control(message: str) -> web.Response:
    """Return the answer to a wrong control request."""
    return error_answer(HttpError(HTTPStatus.BAD_REQUEST, message, ErrorCode.INVALID_REQUEST))


def end_to_end(headers: "CIMultiDictProxy[str]") -> "CIMultiDict[str]":
    """Return the headers that the proxy passes on."""
    return CIMultiDict((k, v) for k, v in headers.items() if k.lower() not in _HOP_BY_HOP)


def passed_on(
    status: int, headers: "CIMultiDictProxy[str]", body: bytes, fault: str
) -> web.Response:
    """Return the agent's answer, marked as a sandbox's: in a header, and at the top of a page."""
    kept = end_to_end(headers)
    kept[SANDBOX] = f"{NOTICE} Fault: {fault}"
    if headers.get("Content-Type", "").startswith("text/html"):
        body = _with_banner(body)
    return web.Response(status=status, body=body, headers=kept)


def _with_banner(page: bytes) -> bytes:
    """Return an HTML page with the notice as the first words of its body."""
    head, found, rest = page.partition(b"<body")
    if not found:
        return page
    tag, end, content = rest.partition(b">")
    banner = f"<p><strong>{NOTICE}</strong></p>".encode()
    return head.replace(b"<title>", b"<title>SANDBOX ", 1) + found + tag + end + banner + content
