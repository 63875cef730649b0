"""Tries the URL of join codes as a machine does: reachable, trusted, and head office.

A typing error in it would be found in a thousand stores otherwise.
"""

import http.client
import json
import ssl
import threading
from contextlib import closing
from http import HTTPStatus
from urllib.parse import urlsplit

from sync.protocol.wire import PROGRAM_PATH
from sync.receiver.auth.authority import Authority
from sync.runtime.network.trust import trusting

# Of connecting and answering; a name that is not resolved may take longer.
_ANSWER_SECONDS, _PATIENCE_SECONDS = 5.0, 6.0
_MAX_BYTES = 64 * 1024


def find_url_problem(url: str, authority: Authority | None) -> str:
    """Return why machines could not join at `url`, as seen from here; empty if they could."""
    problems = ["no answer in time"]

    def ask() -> None:
        problems[0] = _problem(url, authority)

    # Resolving a name has no time limit of its own.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(_PATIENCE_SECONDS)
    return problems[0]


def _problem(url: str, authority: Authority | None) -> str:
    try:
        status, body = _answer(url, authority)
    except ssl.SSLCertVerificationError as error:
        return f"its certificate is not one that machines would trust: {error.verify_message}"
    except (OSError, http.client.HTTPException) as error:
        return f"{getattr(error, 'strerror', None) or error or type(error).__name__}"
    if status != HTTPStatus.UNAUTHORIZED or _status_code_in(body) != status:
        return f"what answers there is not head office (HTTP {status})"
    return ""


def _answer(url: str, authority: Authority | None) -> tuple[int, bytes]:
    """Ask for the program terms without a token: only head office answers 401 in its own shape."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "https":
        tls = trusting(ca_certificate=authority.certificate if authority else None)
        secure = http.client.HTTPSConnection
        connection: http.client.HTTPConnection = secure(
            host, parts.port, timeout=_ANSWER_SECONDS, context=tls
        )
    else:
        connection = http.client.HTTPConnection(host, parts.port, timeout=_ANSWER_SECONDS)
    with closing(connection):
        connection.request("GET", parts.path + PROGRAM_PATH)
        response = connection.getresponse()
        return response.status, response.read(_MAX_BYTES)


def _status_code_in(body: bytes) -> object:
    try:
        error = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return error.get("statusCode") if isinstance(error, dict) else None
