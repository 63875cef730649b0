"""HTTP API for agents: batches, heartbeats, program terms."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import TypeAlias

from aiohttp import hdrs, web

from sync.protocol.wire import BATCHES_PATH, HEARTBEATS_PATH, PROGRAM_PATH, BatchAccepted, ErrorCode
from sync.receiver.admission.admission import Admission, SenderQueue
from sync.receiver.admission.load_shedding import OverItsShare
from sync.receiver.admission.tarpit import Tarpit
from sync.receiver.auth.authenticate import (
    WrongSenderError,
    authenticate_agent,
    bearer_token,
    check_sender,
)
from sync.receiver.auth.enrolment import Enrolment
from sync.receiver.auth.peers import Peers
from sync.receiver.auth.tokens import EnrolledAgent, parse_name
from sync.receiver.ingest.agent_transaction import (
    MAX_EPOCHS,
    MAX_NEW_EPOCHS,
    NEW_EPOCHS_WITHIN,
    TooManyEpochs,
)
from sync.receiver.ingest.ledger import Ledger
from sync.receiver.ingest.ledger_state import AcceptedBatch
from sync.receiver.ingest.parse import InboundBatch, parse_batch, parse_heartbeat
from sync.receiver.ingest.placement import SequenceGap
from sync.receiver.reports.metrics import ReceiverMetrics
from sync.runtime.logging import log_event
from sync.runtime.network.http_errors import HttpError
from sync.runtime.network.http_server import JSON_TYPE, json_response
from sync.runtime.refusal_log import RefusalLog, fingerprint

_log = logging.getLogger(__name__)
_Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]
# A revoked token ends within this time, also for a request that is being received.
VALID_SECONDS = 5.0
# A usual batch is smaller.
_LARGE_BYTES = 256 * 1024
# Log lines for one batch and one kind of finding.
_MOST_LINES = 10


@dataclass(frozen=True, slots=True)
class AgentApi:
    """Handlers for agents. `program` is the encoded program terms and their ETag.

    Heartbeats have an admission of their own, so that a flood of batches never makes stores look
    silent.
    """

    enrolment: Enrolment
    batches: Admission
    heartbeats: Admission
    arrivals: SenderQueue
    tarpit: Tarpit
    ledger: Ledger
    metrics: ReceiverMetrics
    program: tuple[bytes, str]
    peers: Peers
    refused: RefusalLog
    now: Callable[[], datetime]

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Register the routes."""
        router.add_post(BATCHES_PATH, self._slow_to_refuse(self.post_batch))
        router.add_post(HEARTBEATS_PATH, self._slow_to_refuse(self.post_heartbeat))
        router.add_get(PROGRAM_PATH, self._slow_to_refuse(self.get_program))

    async def post_batch(self, request: web.Request) -> web.Response:
        """Store a batch; answer after the commit."""
        received_at = self.now()
        agent = await self._authenticated(request, received_at)
        authenticated = self.metrics.now_seconds()
        async with self.batches.admit(request, agent.name) as body:
            started = self.metrics.now_seconds()
            if started - authenticated > VALID_SECONDS:
                # A slow body may take minutes: the token may have been revoked meanwhile.
                await self._authenticated(request, received_at)
            inbound = await _parsed(body, agent, received_at)
            check_sender(agent, inbound.batch.store_id, inbound.batch.till_id)
            # An exception in this block costs the sender its share, and the others nothing.
            with self.batches.shedder.admitted_events(agent.name, len(inbound.events)):
                outcome = await self.ledger.store_batch(inbound)
                accepted = _accepted(outcome)
        self.metrics.count_batch(accepted, len(inbound.events), started)
        _log_batch(agent, inbound.batch.epoch, accepted)
        through, rejected = accepted.accepted_through, accepted.rejections
        return json_response(BatchAccepted(accepted_through=through, rejected=rejected))

    async def post_heartbeat(self, request: web.Request) -> web.Response:
        """Store a heartbeat; answer with the accepted position of each epoch."""
        received_at = self.now()
        agent = await self._authenticated(request, received_at)
        async with self.heartbeats.admit(request, agent.name) as body:
            inbound = parse_heartbeat(body, agent, received_at)
            check_sender(agent, inbound.heartbeat.store_id, inbound.heartbeat.till_id)
            answer = await self.ledger.store_heartbeat(inbound)
        if isinstance(answer, TooManyEpochs):
            raise _too_many_epochs()
        self.metrics.heartbeats.inc()
        return json_response(answer)

    async def get_program(self, request: web.Request) -> web.Response:
        """Return the program terms, or 304 if the ETag matches."""
        await self._authenticated(request, self.now())
        body, etag = self.program
        headers = {"ETag": f'"{etag}"'}
        if any(tag.value in {etag, "*"} for tag in request.if_none_match or ()):
            return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
        return web.Response(body=body, headers=headers | JSON_TYPE)

    def _slow_to_refuse(self, handler: _Handler) -> _Handler:
        """Return the handler with its refusals delayed for a sender that repeats them."""

        async def handle(request: web.Request) -> web.StreamResponse:
            try:
                return await handler(request)
            except (OverItsShare, HttpError) as error:
                # A guesser sends a new token each time, so it is held by its address.
                is_unknown = isinstance(error, HttpError) and error.code is ErrorCode.UNAUTHORIZED
                peer = self.peers.address_of(request)
                if is_unknown or isinstance(error, WrongSenderError):
                    self._note_refused(peer, bearer_token(request), is_known=not is_unknown)
                token = request.headers.get(hdrs.AUTHORIZATION, "")
                await self.tarpit.hold(peer if is_unknown else token)
                raise

        return handle

    def _note_refused(self, peer: str, token: str, *, is_known: bool) -> None:
        claimed = parse_name(token)
        reason = "other_till" if is_known else "unknown_token" if claimed else "malformed_token"
        self.refused.note(
            peer,
            reason if token else "no_token",
            store=claimed.store_id if claimed else "-",
            till=claimed.till_id if claimed else "-",
            fingerprint=fingerprint(token),
        )

    async def _authenticated(self, request: web.Request, at: datetime) -> EnrolledAgent:
        """Return the sender. Raises `HttpError` (401), or `OverItsShare` if many ask at once."""
        with self.arrivals.place(request.headers.get(hdrs.AUTHORIZATION, "")):
            return await authenticate_agent(request, self.enrolment, at)


def _too_many_epochs() -> HttpError:
    hours = NEW_EPOCHS_WITHIN // timedelta(hours=1)
    return HttpError(
        HTTPStatus.FORBIDDEN,
        f"This till began more than {MAX_NEW_EPOCHS} epochs within {hours} hours, or {MAX_EPOCHS}"
        " in all. Its events wait on the till. Find out why its database is replaced so often.",
        ErrorCode.TOO_MANY_EPOCHS,
    )


async def _parsed(body: bytearray, agent: EnrolledAgent, received_at: datetime) -> InboundBatch:
    """Parse a batch; a large one in a thread, so that the event loop stays free."""
    if len(body) <= _LARGE_BYTES:
        return parse_batch(body, agent, received_at)
    return await asyncio.to_thread(parse_batch, body, agent, received_at)


def _accepted(outcome: AcceptedBatch | SequenceGap | TooManyEpochs) -> AcceptedBatch:
    """Return the accepted batch. Raises `HttpError` if it was not accepted."""
    match outcome:
        case SequenceGap(expected_sequence):
            raise HttpError(
                HTTPStatus.CONFLICT,
                "Earlier events are missing. Send from expectedSequence on.",
                ErrorCode.SEQUENCE_GAP,
                expected_sequence=expected_sequence,
            )
        case TooManyEpochs():
            raise _too_many_epochs()
        case AcceptedBatch():
            return outcome


def _log_batch(agent: EnrolledAgent, epoch: str, batch: AcceptedBatch) -> None:
    sender = {"store": agent.name.store_id, "till": agent.name.till_id, "epoch": epoch}
    new = {"sessions": len(batch.sessions), "answers": len(batch.answers)}
    through = batch.accepted_through
    log_event(_log, logging.DEBUG, "batch.accepted", **sender, accepted_through=through, **new)
    rejected = [{"sequence": one.sequence, "code": one.error_code} for one in batch.rejected]
    altered = [{"sequence": sequence} for sequence in batch.altered]
    gaps = [{"first": g.first, "last": g.last, "reason": g.reason} for g in batch.gaps_added]
    for event, found in (
        ("event.rejected", rejected),
        ("event.altered", altered),
        ("gap.recorded", gaps),
    ):
        # All of them are in the database; a batch of nothing else must not flood the log.
        for fields in found[:_MOST_LINES]:
            log_event(_log, logging.WARNING, event, **sender, **fields)
        if len(found) > _MOST_LINES:
            more = len(found) - _MOST_LINES
            log_event(_log, logging.WARNING, f"{event}_too", **sender, more=more)
