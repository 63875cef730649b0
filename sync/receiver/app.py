"""Routes and handlers of the HTTP API."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from sync.protocol.wire import (
    BATCHES_PATH,
    HEARTBEATS_PATH,
    PROGRAM_PATH,
    BatchAccepted,
    ErrorCode,
)
from sync.receiver.admission.admission import Admission
from sync.receiver.auth.authenticate import ReaderAccess, authenticate_agent, check_sender
from sync.receiver.auth.enrolment import Enrolment
from sync.receiver.auth.tokens import EnrolledAgent
from sync.receiver.db.readiness import Readiness
from sync.receiver.ingest.accept import AcceptedBatch, SequenceGap
from sync.receiver.ingest.inbound import BatchArrival
from sync.receiver.ingest.ledger import Ledger
from sync.receiver.ingest.parse import read_batch, read_heartbeat
from sync.receiver.pages.routes import Pages
from sync.receiver.reports.cached import TTLCache
from sync.receiver.reports.completeness_report import Audits
from sync.receiver.reports.fleet_figures import FleetFigures
from sync.receiver.reports.ledger_views import Views
from sync.receiver.reports.metrics import Metrics
from sync.receiver.streaming import stream_json
from sync.runtime.http_errors import HttpError
from sync.runtime.logging import log_event

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Context:
    """Dependencies of the handlers. `program` is the encoded program terms and their ETag.

    Heartbeats have a concurrency limit of their own, so that a flood of batches never makes stores
    look silent.
    """

    ledger: Ledger
    views: Views
    readiness: Readiness
    audits: Audits
    enrolment: Enrolment
    readers: ReaderAccess
    pages: Pages
    batches: Admission
    heartbeats: Admission
    metrics: Metrics
    fleet_figures: TTLCache[FleetFigures | None]
    program: tuple[bytes, str]
    now: Callable[[], datetime]


class AgentCalls:
    """Endpoints for agents."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def take_batch(self, request: web.Request) -> web.Response:
        """Store a batch; answer after the commit."""
        received_at = self._context.now()
        caller = await authenticate_agent(request, self._context.enrolment, received_at)
        async with self._context.batches.admit(request, caller.name) as body:
            begun = self._context.metrics.begin()
            batch, events = read_batch(body)
            check_sender(caller, batch.store_id, batch.till_id)
            self._context.batches.shedder.admit_events(len(events))
            taken = await self._context.ledger.take(
                BatchArrival(caller, batch, events, received_at)
            )
        match taken:
            case SequenceGap(expected_sequence):
                raise _sequence_gap(expected_sequence)
            case AcceptedBatch():
                self._context.metrics.taken(taken, len(events), begun)
                _log_taken(caller, batch.epoch, taken)
                return _json(_accepted(taken))

    async def hear_heartbeat(self, request: web.Request) -> web.Response:
        """Store a heartbeat; answer with the accepted position of each epoch."""
        received_at = self._context.now()
        caller = await authenticate_agent(request, self._context.enrolment, received_at)
        async with self._context.heartbeats.admit(request, caller.name) as body:
            arrival = read_heartbeat(body, caller, received_at)
            check_sender(caller, arrival.heartbeat.store_id, arrival.heartbeat.till_id)
            answer = await self._context.ledger.hear(arrival)
        self._context.metrics.heard()
        return _json(answer)

    async def show_program(self, request: web.Request) -> web.Response:
        """Return the program terms, or 304 if the ETag matches."""
        await authenticate_agent(request, self._context.enrolment, self._context.now())
        body, etag = self._context.program
        headers = {"ETag": f'"{etag}"', "Content-Type": "application/json"}
        if any(tag.value in {etag, "*"} for tag in request.if_none_match or ()):
            return web.Response(status=HTTPStatus.NOT_MODIFIED, headers={"ETag": f'"{etag}"'})
        return web.Response(body=body, headers=headers)


class Reads:
    """Endpoints for people and monitoring."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def show_stores(self, request: web.Request) -> web.Response:
        """Return every till with the accepted position of each epoch."""
        self._context.readers.check(request)
        return _json({"stores": await self._context.views.stores()})

    async def show_store(self, request: web.Request) -> web.Response:
        """Return the tills of one store; 404 if the store is unknown."""
        self._context.readers.check(request)
        stores = await self._context.views.stores(request.match_info["store_id"])
        if not stores:
            raise web.HTTPNotFound
        return _json({"stores": stores})

    async def show_completeness(self, request: web.Request) -> web.StreamResponse:
        """Stream the completeness report of one store or of all, epoch by epoch."""
        self._context.readers.check(request)
        store_id = request.query.get("store")
        if store_id is not None and not await self._context.audits.knows(store_id):
            raise web.HTTPNotFound
        return await stream_json(request, self._context.audits.document(store_id))

    async def show_session(self, request: web.Request) -> web.Response:
        """Return all sessions with this correlation id, in any store; 404 if there are none."""
        self._context.readers.check(request)
        found = await self._context.views.sessions(request.match_info["correlation_id"])
        if not found:
            raise web.HTTPNotFound
        return _json({"sessions": found})

    async def show_metrics(self, request: web.Request) -> web.Response:
        """Return the metrics in Prometheus text format."""
        self._context.readers.check(request)
        figures = await self._context.fleet_figures.get()
        headers = {"Content-Type": CONTENT_TYPE_LATEST}
        return web.Response(body=self._context.metrics.render(figures), headers=headers)

    async def is_alive(self, _: web.Request) -> web.Response:
        """Liveness probe: 200 while the process serves requests."""
        return _json({"status": "alive"})

    async def is_ready(self, _: web.Request) -> web.Response:
        """Readiness probe: 200 if the ledger can be written, else 503 with the cause."""
        await self._context.readiness.check()
        return _json({"status": "ready"})


def build_app(context: Context) -> web.Application:
    """Build the application with all routes."""
    app = web.Application()
    calls, reads = AgentCalls(context), Reads(context)
    app.router.add_post(BATCHES_PATH, calls.take_batch)
    app.router.add_post(HEARTBEATS_PATH, calls.hear_heartbeat)
    app.router.add_get(PROGRAM_PATH, calls.show_program)
    app.router.add_get("/v1/stores", reads.show_stores)
    app.router.add_get("/v1/stores/{store_id}", reads.show_store)
    app.router.add_get("/v1/completeness", reads.show_completeness)
    app.router.add_get("/v1/sessions/{correlation_id:.+}", reads.show_session)
    app.router.add_get("/metrics", reads.show_metrics)
    app.router.add_get("/healthz", reads.is_alive)
    app.router.add_get("/readyz", reads.is_ready)
    context.pages.add_to(app.router)
    return app


def _accepted(taken: AcceptedBatch) -> BatchAccepted:
    return BatchAccepted(accepted_through=taken.accepted_through, rejected=taken.rejected)


def _sequence_gap(expected_sequence: int) -> HttpError:
    return HttpError(
        HTTPStatus.CONFLICT,
        "Events that come before are missing",
        ErrorCode.SEQUENCE_GAP,
        expected_sequence=expected_sequence,
    )


def _log_taken(caller: EnrolledAgent, epoch: str, taken: AcceptedBatch) -> None:
    named = {"store": caller.name.store_id, "till": caller.name.till_id, "epoch": epoch}
    log_event(
        _log,
        logging.DEBUG,
        "batch.taken",
        **named,
        accepted_through=taken.accepted_through,
        sessions=len(taken.sessions),
        answers=len(taken.answers),
    )
    for unfit in taken.refused:
        fields = {"sequence": unfit.sequence, "code": unfit.error_code}
        log_event(_log, logging.WARNING, "event.refused", **named, **fields)
    for sequence in taken.altered:
        log_event(_log, logging.WARNING, "event.altered", **named, sequence=sequence)
    for gap in taken.gaps_noted:
        fields = {"first": gap.first, "last": gap.last, "reason": gap.reason}
        log_event(_log, logging.WARNING, "gap.noted", **named, **fields)


def _json(content: object) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(content), headers={"Content-Type": "application/json"}
    )
