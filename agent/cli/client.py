"""HTTP client for the agent that runs on this machine; its errors end a command."""

import http.client
import json
import os
import ssl
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from agent.config import ACCESS, SERVICE, ConfigurationError, SettingError, Settings, read_secret
from sync.runtime.cli.program import Program, State
from sync.runtime.network.trust import trusting


def _state(settings: Settings) -> State:
    directory = settings.storage.directory
    try:
        exists = any(directory.iterdir())
    except PermissionError:
        exists = True  # another user's; the command reports it
    except OSError:
        exists = False
    return State(str(directory), exists)


AGENT: Program[Settings] = Program(
    "loyalty-agent",
    SERVICE,
    Settings,
    lambda settings: (settings.api.host, settings.api.port),
    _state,
    ACCESS,
)

_TIMEOUT_SECONDS = 5.0
_MAX_BODY_BYTES = 4 * 1024 * 1024
_SUCCESS = (http.client.OK, http.client.ACCEPTED)
_REJECTED = (http.client.BAD_REQUEST, http.client.NOT_FOUND, http.client.CONFLICT)
# A wildcard address can be listened on, but not connected to; localhost may be another program's
# ::1, and the token is the agent's.
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1", "localhost": "127.0.0.1"}  # noqa: S104 - nothing is bound here


class AgentError(Exception):
    """The agent is unreachable or rejected the request; the message says why, or what to do."""


class AgentUnreachable(AgentError):  # noqa: N818 - names the state
    """The agent cannot be reached; `cause` says why in few words."""

    def __init__(self, message: str, cause: str) -> None:
        super().__init__(message)
        self.cause = cause


class UnexpectedResponse(AgentError):  # noqa: N818 - names the state
    """Another program answers, or the agent has a fault."""


@dataclass(frozen=True, slots=True)
class AgentResponse:
    """A response: the JSON text as received, and its parsed value."""

    text: str
    value: object

    @property
    def members(self) -> dict[str, object]:
        """The members of the JSON object; empty if the response is not an object."""
        return self.value if isinstance(self.value, dict) else {}


@dataclass(frozen=True, slots=True)
class AgentClient:
    """Sends requests to the agent that runs with `settings`; each has a timeout of 5 seconds.

    Raises `AgentError`, and `ConfigurationError` if the token or the certificate cannot be read.
    """

    settings: Settings

    def status(self) -> AgentResponse:
        """Return the status, which is a JSON object."""
        response = self.request("GET", "/agent/v1/status")
        if not isinstance(response.value, dict):
            raise self._unexpected(http.client.OK)
        return response

    def metrics(self) -> str:
        """Return the metrics in the Prometheus text format."""
        code, text = self._exchange("GET", "/metrics")
        if code != http.client.OK or not text.startswith("# "):
            raise self._unexpected(code)
        return text

    def request(self, method: str, path: str, *, as_admin: bool = False) -> AgentResponse:
        """Send a request without a body; return the successful response.

        `as_admin`: with the token of `[api] admin_token_file`, if that is set.
        """
        code, text = self._exchange(method, path, as_admin=as_admin)
        return self._parse(code, text)

    def _exchange(self, method: str, path: str, *, as_admin: bool = False) -> tuple[int, str]:
        if self.settings.api.port == 0:
            raise AgentError(
                "api.port is 0, so the agent listens on any free port; set a port to reach it"
            )
        try:
            code, text = self._send(method, path, self._headers(as_admin=as_admin))
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or error
            raise AgentUnreachable(
                f"cannot reach the agent on {self._address} ({reason}); check that it is running"
                ' ("systemctl status loyalty-agent") and that this is its configuration',
                f"{self._address}: {reason}",
            ) from None
        if code in {http.client.UNAUTHORIZED, http.client.FORBIDDEN}:
            raise self._denied(code, as_admin=as_admin)
        return code, text

    @property
    def _address(self) -> str:
        return f"{self.settings.api.host} port {self.settings.api.port}"

    def _headers(self, *, as_admin: bool) -> dict[str, str]:
        api = self.settings.api
        headers = {"Accept": "application/json", "Connection": "close"}
        if as_admin and api.admin_token_file:
            headers["Authorization"] = f"Bearer {_admin_token(api.admin_token_file)}"
        elif api.token_file:
            headers["Authorization"] = f"Bearer {read_secret(api.token_file, 'api.token_file')}"
        return headers

    def _send(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
        api = self.settings.api
        host = _LOOPBACK.get(api.host, api.host)
        connection = http.client.HTTPConnection(host, api.port, _TIMEOUT_SECONDS)
        if api.tls_cert_file:
            context = _trust_only(api.tls_cert_file)
            connection = http.client.HTTPSConnection(
                host, api.port, timeout=_TIMEOUT_SECONDS, context=context
            )
        with closing(connection):
            connection.request(method, path, headers=headers)
            response = connection.getresponse()
            return response.status, response.read(_MAX_BODY_BYTES).decode("utf-8", "replace")

    def _denied(self, code: int, *, as_admin: bool) -> AgentError:
        is_admins = as_admin and self.settings.api.admin_token_file is not None
        name = "api.admin_token_file" if is_admins else "api.token_file"
        return AgentError(
            f"the agent on {self._address} rejects the request (HTTP {code}); check that"
            f" {name} is the one it was started with, and restart it after a change"
        )

    def _parse(self, code: int, text: str) -> AgentResponse:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = None
        if code in _REJECTED and isinstance(value, dict):
            reason = value.get("errorMessage")
            if isinstance(reason, str):
                raise AgentError(reason)
        if code not in _SUCCESS or not isinstance(value, dict | list):
            raise self._unexpected(code)
        return AgentResponse(text.strip(), value)

    def _unexpected(self, code: int) -> AgentError:
        return UnexpectedResponse(
            f"unexpected response from {self._address} (HTTP {code}): the agent has a fault, or"
            " another program uses its port; check the agent's log"
        )


def status_or_reason(settings: Settings) -> dict[str, object] | str:
    """Return the status of the running agent, or why it cannot be asked."""
    try:
        return AgentClient(settings).status().members
    except (AgentError, ConfigurationError) as error:
        return str(error)


@contextmanager
def agent_client(config: Path | None) -> Iterator[AgentClient]:
    """Yield a client; turn an unreachable agent or a rejected request into exit code 1."""
    settings = AGENT.client_settings(config)
    try:
        with AGENT.exit_on_configuration_error():
            yield AgentClient(settings)
    except AgentError as error:
        AGENT.fail(str(error))


def _admin_token(file: Path) -> str:
    """Return the admin token. Raises `AgentError` if this user may not read it."""
    try:
        return read_secret(file, "api.admin_token_file")
    except ConfigurationError as error:
        if os.access(file, os.R_OK, effective_ids=True):
            raise
        # A missing file looks the same where this user may not enter the directory.
        raise AgentError(
            f"retrying and discarding need the token in {file} (api.admin_token_file), and this"
            " user may not read it: run the command as root"
        ) from error


def _trust_only(certificate: Path) -> ssl.SSLContext:
    """Return a context that trusts only the agent's own certificate, any issuer and any name."""
    try:
        context = trusting(certificate)
    except OSError as error:
        wrong = f"the file cannot be read as a certificate ({error.strerror or 'not PEM'})"
        mistake = SettingError(str(certificate), "api.tls_cert_file", wrong)
        raise ConfigurationError([mistake]) from None
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    # The certificate bears the host name that tills use; this client connects by address.
    context.check_hostname = False
    return context
