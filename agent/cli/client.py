"""HTTP client for the agent that runs on this machine."""

import http.client
import json
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agent.config import ConfigurationError, Mistake, read_secret

if TYPE_CHECKING:
    from agent.config import Settings

_STATUS = "/agent/v1/status"
_TIMEOUT_SECONDS = 5.0
_MAX_ANSWER_BYTES = 4 * 1024 * 1024
_YES = (http.client.OK, http.client.ACCEPTED)
_NO = (http.client.BAD_REQUEST, http.client.NOT_FOUND, http.client.CONFLICT)
# A wildcard address can be listened on, but not connected to.
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - nothing is bound here


class RequestRefusedError(Exception):
    """The agent rejected the request; the message is its reason."""


class AgentNotReachedError(Exception):
    """No usable response from the agent; the message says how to fix it."""


@dataclass(frozen=True, slots=True)
class AgentAnswer:
    """A response: HTTP status, JSON text as received, and parsed JSON."""

    status: int
    text: str
    value: object

    @property
    def members(self) -> dict[str, object]:
        """The members of the JSON object; empty if the response is not an object."""
        return self.value if isinstance(self.value, dict) else {}


def ask_status(settings: "Settings") -> AgentAnswer:
    """Return the status of the agent that runs with `settings`. Raises like `ask`."""
    answer = ask(settings, "GET", _STATUS)
    if not isinstance(answer.value, dict):
        raise _not_the_agent(_where(settings), answer.status)
    return answer


def ask(settings: "Settings", method: str, path: str) -> AgentAnswer:
    """Send a request to the agent that runs with `settings`; the timeout is 5 seconds.

    Raises `RequestRefusedError` if the agent answers with an error body,
    `AgentNotReachedError` if there is no usable response, and `ConfigurationError` if the
    token or the certificate cannot be read.
    """
    where = _where(settings)
    if settings.api.port == 0:
        raise AgentNotReachedError(
            "api.port is 0, so the agent listens on any free port; set a port to ask it"
        )
    try:
        code, text = _call(settings, method, path)
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or error or type(error).__name__
        raise AgentNotReachedError(
            f"no agent answers on {where} ({reason}); check that it runs"
            ' ("systemctl status loyalty-agent") and that this is its configuration'
        ) from None
    return _understand(code, text, where)


def _call(settings: "Settings", method: str, path: str) -> tuple[int, str]:
    headers = {"Accept": "application/json", "Connection": "close"}
    if settings.api.token_file:
        token = read_secret(settings.api.token_file, "api.token_file")
        headers["Authorization"] = f"Bearer {token}"
    connection = _connection(settings)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read(_MAX_ANSWER_BYTES).decode("utf-8", "replace")
    finally:
        connection.close()


def _connection(settings: "Settings") -> http.client.HTTPConnection:
    api = settings.api
    host = _LOOPBACK.get(api.host, api.host)
    if api.tls_cert_file is None:
        return http.client.HTTPConnection(host, api.port, timeout=_TIMEOUT_SECONDS)
    context = _trust_in(api.tls_cert_file)
    return http.client.HTTPSConnection(host, api.port, timeout=_TIMEOUT_SECONDS, context=context)


def _trust_in(certificate: Path) -> ssl.SSLContext:
    """Return a context that trusts only the agent's own certificate, any issuer and any name."""
    try:
        context = ssl.create_default_context(cafile=certificate)
    except OSError as error:
        wrong = f"the file cannot be read as a certificate ({error.strerror or 'not PEM'})"
        mistake = Mistake(str(certificate), "api.tls_cert_file", wrong)
        raise ConfigurationError([mistake]) from None
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    # The certificate bears the host name that tills use; this client connects by address.
    context.check_hostname = False
    return context


def _understand(code: int, text: str, where: str) -> AgentAnswer:
    if code in {http.client.UNAUTHORIZED, http.client.FORBIDDEN}:
        raise AgentNotReachedError(
            f"the agent on {where} refuses to answer ({code}); check that api.token_file is the"
            " one it was started with, and restart it after a change"
        )
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if code in _NO and isinstance(value, dict) and isinstance(value.get("errorMessage"), str):
        raise RequestRefusedError(value["errorMessage"])
    if code not in _YES or not isinstance(value, dict | list):
        raise _not_the_agent(where, code)
    return AgentAnswer(code, text.strip(), value)


def _not_the_agent(where: str, code: int) -> AgentNotReachedError:
    return AgentNotReachedError(
        f"what answers on {where} is not the agent, or in trouble (HTTP {code}); look at its"
        " log, and at which program has the port"
    )


def _where(settings: "Settings") -> str:
    return f"{settings.api.host} port {settings.api.port}"
