"""HTTP API for machines that join with a code: register the token, fetch the authority.

The only unauthenticated requests from outside, so they have limits of their own: they take
neither memory nor a place from agents.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus

import msgspec
from aiohttp import web

from sync.protocol.join_messages import (
    AUTHORITY_PATH,
    JOIN_PATH,
    AuthorityAnswer,
    JoinAnswer,
    JoinRequest,
)
from sync.protocol.wire import ErrorCode
from sync.receiver.admission.admission import Admission
from sync.receiver.admission.tarpit import Tarpit
from sync.receiver.audit.audit_log import AuditLog
from sync.receiver.audit.author import Author
from sync.receiver.auth.guess_limiter import GuessLimiter
from sync.receiver.auth.join_codes import JoinCodes, JoinOutcome, TokenRegistration
from sync.receiver.auth.peers import Peers
from sync.receiver.auth.tokens import AgentName
from sync.runtime.network.http_errors import HttpError, bad_request, too_many_requests
from sync.runtime.network.http_server import json_response
from sync.runtime.refusal_log import RefusalLog

MAX_JOIN_BYTES = 4 * 1024
MAX_JOINS_IN_FLIGHT = 4
# Bodies of a few kilobytes; the rest of this is the fixed cost of each request.
JOIN_MEMORY_BYTES = 8 * 1024 * 1024
_request = msgspec.json.Decoder(JoinRequest)
_REFUSALS = {
    JoinOutcome.UNKNOWN: (
        HTTPStatus.UNAUTHORIZED,
        ErrorCode.JOIN_CODE_UNKNOWN,
        "Head office has no such join code: a newer one voided it, or it was issued elsewhere",
    ),
    JoinOutcome.USED: (
        HTTPStatus.CONFLICT,
        ErrorCode.JOIN_CODE_USED,
        "Another machine has used this join code",
    ),
    JoinOutcome.EXPIRED: (
        HTTPStatus.FORBIDDEN,
        ErrorCode.JOIN_CODE_EXPIRED,
        "This join code has expired",
    ),
}


@dataclass(frozen=True, slots=True)
class JoinApi:
    """Handlers for machines that join. `guesses` limits wrong secrets by peer and till."""

    codes: JoinCodes
    admission: Admission
    guesses: GuessLimiter
    tarpit: Tarpit
    peers: Peers
    refused: RefusalLog
    now: Callable[[], datetime]

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Register the routes."""
        router.add_post(JOIN_PATH, self.post_join)
        router.add_get(AUTHORITY_PATH, self.get_authority)

    async def post_join(self, request: web.Request) -> web.Response:
        """Register the machine's token; answer after the commit."""
        peer = self.peers.address_of(request)
        async with self.admission.admit(request, _sender(peer)) as body:
            joining = _parsed(body)
            name = AgentName(joining.store_id, joining.till_id)
            self._check_wait(peer, name)
            author = Author("join code", peer)
            audit = AuditLog(author, self.now, lambda: uuid.uuid4().hex)
            registration = TokenRegistration(name, joining.secret, joining.token_hash)
            outcome = await self.codes.redeem(registration, self.now(), audit)
        if outcome is not JoinOutcome.JOINED:
            await self._refuse(peer, name, joining.secret, outcome)
        return json_response(JoinAnswer(store_id=name.store_id, till_id=name.till_id))

    async def get_authority(self, request: web.Request) -> web.Response:
        """Return the certificate of the authority that a code names. It is public."""
        async with self.admission.admit(request, _sender(self.peers.address_of(request))):
            certificate = await self.codes.authority(request.match_info["mark"])
        if certificate is None:
            message = "No join code names this authority"
            raise HttpError(HTTPStatus.NOT_FOUND, message, ErrorCode.NOT_FOUND)
        return json_response(AuthorityAnswer(certificate=certificate))

    def _check_wait(self, peer: str, name: AgentName) -> None:
        if wait := self.guesses.wait_seconds(peer, of=name):
            self._note(peer, name, "wait")
            raise too_many_requests("Too many wrong join codes", wait)

    async def _refuse(self, peer: str, name: AgentName, secret: str, outcome: JoinOutcome) -> None:
        self._note(peer, name, outcome.value)
        if outcome is JoinOutcome.UNKNOWN:
            self.guesses.record_failure(peer, secret, of=name)
        await self.tarpit.hold(peer)
        status, code, message = _REFUSALS[outcome]
        raise HttpError(status, message, code)

    def _note(self, peer: str, name: AgentName, reason: str) -> None:
        self.refused.note(peer, reason, store=name.store_id, till=name.till_id)


def _sender(peer: str) -> AgentName:
    """Return the sender that limits count: the peer, for want of authentication."""
    return AgentName("", peer)


def _parsed(body: bytearray) -> JoinRequest:
    try:
        return _request.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        # Without the decoder's words, which may quote the body.
        raise bad_request("The body is not a join request") from None
