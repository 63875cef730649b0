"""Registration at head office: fetch its authority, register the token's hash, over TLS."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import TypeAlias, TypeVar

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from tenacity import AsyncRetrying, RetryCallState, retry_if_result
from yarl import URL

from agent.config import Settings
from agent.uplink.central_connection import http_options
from sync.delivery.outcomes import Blocked, FailureCause, RetryLater
from sync.delivery.transports.http_client import HttpClient, HttpResponse
from sync.delivery.transports.responses import classify, error_body
from sync.protocol.join_code import JoinCode, authority_mark
from sync.protocol.join_messages import (
    AUTHORITY_PATH,
    JOIN_PATH,
    AuthorityAnswer,
    JoinAnswer,
    JoinRequest,
)
from sync.protocol.wire import PROGRAM_PATH, ErrorCode
from sync.runtime.identity import installed_version

T = TypeVar("T")
_Answer: TypeAlias = HttpResponse | Blocked | RetryLater
PATIENCE_SECONDS = 60.0
# Where a machine refuses the connection: head office restarts within this time.
REFUSED_SECONDS = 10.0
_TIMEOUT_SECONDS = 15.0
_LONGEST_WAIT_SECONDS, _USUAL_WAIT_SECONDS = 30.0, 2.0
_VOID = {
    ErrorCode.JOIN_CODE_UNKNOWN: (
        "head office does not know this join code: a newer one may have voided it, or it was"
        " revoked. Ask head office for another one (loyalty-hq enroll)"
    ),
    ErrorCode.JOIN_CODE_USED: (
        "another machine has joined with this code. If that was not you, tell head office at once:"
        " its token should be revoked. Ask for another code"
    ),
    ErrorCode.JOIN_CODE_EXPIRED: "this join code has expired: ask head office for another one",
}
# Causes that do not pass within a minute: no retry.
_PERMANENT = {FailureCause.UNTRUSTED_CERTIFICATE, FailureCause.WRONG_CLOCK}


class RegistrationError(Exception):
    """The machine is not registered; the message says why and what to do."""


@dataclass(slots=True)
class HeadOffice:
    """Head office at the code's URL, reached as the settings say.

    `say` is told at once why a request is repeated. `may_have_registered`: the answer to a
    registration was lost.
    """

    code: JoinCode
    settings: Settings
    patience_seconds: float = PATIENCE_SECONDS
    say: Callable[[str], None] = lambda _: None
    may_have_registered: bool = False

    async def fetch_authority(self) -> str:
        """Return the authority's certificate (PEM), verified by the fingerprint in the code.

        The connection is not verified, so no secret is sent on it. The certificate is encoded
        again: a man in the middle could have added others to the text. Raises
        `RegistrationError`.
        """
        if not self.code.url.startswith("https:"):
            raise RegistrationError("the join code names an authority, and its URL is not https")
        path = AUTHORITY_PATH.format(mark=self.code.authority)
        answer, _ = await self._send("GET", path, {}, None, verifies_server=False)
        certificate = _certificate_in(self._decoded(answer, AuthorityAnswer).certificate)
        found = certificate and authority_mark(certificate.public_bytes(Encoding.DER))
        if certificate is None or found != self.code.authority:
            raise RegistrationError(
                f"{self.code.url} presents another certificate authority than the join code names:"
                " this is not the head office that issued the code, or somebody is between"
            )
        return certificate.public_bytes(Encoding.PEM).decode()

    async def register(self, token_hash: str, ca_file: Path | None) -> None:
        """Register the hash of this machine's token. Idempotent. Raises `RegistrationError`."""
        code = self.code
        request = JoinRequest(
            store_id=code.store_id,
            till_id=code.till_id,
            secret=code.secret,
            token_hash=token_hash,
            agent_version=installed_version(),
        )
        body = msgspec.json.encode(request)
        headers = {"Content-Type": "application/json"}
        # Until it is answered: also if this process is interrupted.
        self.may_have_registered = True
        answer, is_sent = await self._send("POST", JOIN_PATH, headers, ca_file, body)
        self.may_have_registered = is_sent
        answered = self._decoded(answer, JoinAnswer)
        if (answered.store_id, answered.till_id) != (code.store_id, code.till_id):
            raise RegistrationError(f"{code.url} did not answer as head office does")

    async def check(self, token: str, ca_file: Path | None) -> None:
        """Use the token for one request. Raises `RegistrationError` if head office refuses it."""
        headers = {"Authorization": f"Bearer {token}"}
        answer, _ = await self._send("GET", PROGRAM_PATH, headers, ca_file)
        self._decoded(answer, msgspec.Raw)

    async def _send(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        ca_file: Path | None,
        body: bytes | None = None,
        *,
        verifies_server: bool = True,
    ) -> tuple[_Answer, bool]:
        options = replace(
            http_options(self.settings),
            timeout_seconds=_TIMEOUT_SECONDS,
            connections=1,
            ca_file=ca_file,
            verifies_server=verifies_server,
        )
        http, url = HttpClient(options), URL(self.code.url + path, encoded=True)
        try:
            return await self._send_with_retries(
                lambda: http.request(method, url, headers=headers, body=body)
            )
        finally:
            await http.close()

    async def _send_with_retries(
        self, send: Callable[[], Awaitable[_Answer]]
    ) -> tuple[_Answer, bool]:
        """Retry until head office answers or patience ends.

        Returns the last outcome, and whether any request may have taken effect without a verdict.
        """
        is_sent = False

        async def send_once() -> _Answer:
            nonlocal is_sent
            answer = await send()
            if isinstance(answer, HttpResponse):
                if _void_code(answer) is not None:
                    return answer
                answer = classify(answer, datetime.now(UTC))
            # A success is not decoded yet: it may be the page of a proxy.
            is_sent |= isinstance(answer, HttpResponse) or (
                isinstance(answer, RetryLater) and answer.may_have_arrived
            )
            return answer

        retrying = AsyncRetrying(
            retry=retry_if_result(_is_temporary),
            stop=self._is_over,
            wait=_wait_seconds,
            before_sleep=self._say_why,
            retry_error_callback=_last_result,
        )
        outcome: _Answer = await retrying(send_once)
        return outcome, is_sent

    def _is_over(self, state: RetryCallState) -> bool:
        """End patience, and sooner if the connection is refused: a typo, no restart by then."""
        last, patience_seconds = _last_result(state), self.patience_seconds
        if isinstance(last, RetryLater) and last.cause is FailureCause.CENTRAL_DOWN:
            patience_seconds = min(patience_seconds, REFUSED_SECONDS)
        return (state.seconds_since_start or 0) >= patience_seconds

    def _say_why(self, state: RetryCallState) -> None:
        last = _last_result(state)
        if state.attempt_number == 1 and isinstance(last, RetryLater):
            self.say(f"{self.code.url}: {last.detail}. It is tried again for a moment")

    def _decoded(self, answer: _Answer, kind: type[T]) -> T:
        """Return the message in a successful answer. Raises `RegistrationError`."""
        url = self.code.url
        if not isinstance(answer, HttpResponse):
            raise RegistrationError(f"{url}: {answer.detail}")
        code = _void_code(answer)
        if code is not None:
            raise RegistrationError(_VOID[code])
        if answer.status == HTTPStatus.NOT_FOUND:
            raise RegistrationError(
                f"{url} knows no join codes: it is an older head office, or not head office"
            )
        try:
            if answer.status == HTTPStatus.OK:
                return msgspec.json.decode(answer.body, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass
        raise RegistrationError(
            f"{url} did not answer as head office does (HTTP {answer.status}): is there a proxy or"
            " a sign-in page in between?"
        )


def _void_code(answer: HttpResponse) -> ErrorCode | None:
    error = error_body(answer) if answer.status != HTTPStatus.OK else None
    return next((code for code in _VOID if error and error.error_code == code), None)


def _is_temporary(answer: _Answer) -> bool:
    return isinstance(answer, RetryLater) and answer.cause not in _PERMANENT


def _wait_seconds(state: RetryCallState) -> float:
    last = state.outcome.result() if state.outcome else None
    asked = last.retry_after_seconds if isinstance(last, RetryLater) else None
    return min(asked or _USUAL_WAIT_SECONDS, _LONGEST_WAIT_SECONDS)


def _last_result(state: RetryCallState) -> _Answer:
    assert state.outcome is not None  # noqa: S101 - tenacity calls this after an attempt
    outcome: _Answer = state.outcome.result()
    return outcome


def _certificate_in(text: str) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificate(text.encode())
    except ValueError:
        return None
