"""HTTP API for people and monitoring: stores, completeness, sessions, metrics, health."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial

from aiohttp import ClientConnectionResetError, web
from prometheus_client import CONTENT_TYPE_LATEST

from sync.receiver.auth.readers import ReaderAccess
from sync.receiver.boundary import COMMON_HEADERS
from sync.receiver.db.database import Reads
from sync.receiver.db.health.readiness import Readiness
from sync.receiver.db.period import parse_period
from sync.receiver.reports.completeness.report import Scope, completeness_json
from sync.receiver.reports.fleet_figures import FleetFigures
from sync.receiver.reports.json_views import is_valid_text, sessions_json
from sync.receiver.reports.metrics import ReceiverMetrics
from sync.receiver.reports.shared_reads import TTLCache
from sync.receiver.reports.store_list import (
    StoreRange,
    is_known_store,
    stores_after,
    stores_json,
)
from sync.receiver.reports.tills import Reference, till_states
from sync.runtime.network.http_errors import bad_request
from sync.runtime.network.http_server import JSON_TYPE, json_response

# A reader that accepts no data for this long is disconnected.
STALL_SECONDS = 30.0
_LIMIT = re.compile(r"[1-9][0-9]{0,3}")


@dataclass(frozen=True, slots=True)
class ReadApi:
    """Handlers for readers and monitoring."""

    database: Reads
    readers: ReaderAccess
    readiness: Readiness
    metrics: ReceiverMetrics
    fleet_figures: TTLCache[FleetFigures | None]
    reference: Callable[[], Reference]

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Register the routes."""
        router.add_get("/v1/stores", self.get_stores)
        router.add_get("/v1/stores/{store_id}", self.get_stores)
        router.add_get("/v1/completeness", self.get_completeness)
        router.add_get("/v1/sessions/{correlation_id:.+}", self.get_session)
        router.add_get("/metrics", self.get_metrics)
        router.add_get("/healthz", self.get_liveness)
        router.add_get("/readyz", self.get_readiness)

    async def get_stores(self, request: web.Request) -> web.StreamResponse:
        """Stream the tills with their epochs, of all stores or of one; 404 if it is unknown.

        `?limit=N` responds with N stores, and with `next`, the `?after=` of the following ones.
        """
        await self.readers.check(request)
        store_id = request.match_info.get("store_id")
        if store_id is not None and not await is_known_store(self.database, store_id):
            raise web.HTTPNotFound
        after, limit = _paging(request)
        stores = StoreRange(after)
        if limit is not None:
            stores = await stores_after(self.database, after, limit)
        reference = self.reference()
        listed = stores_json(
            self.database,
            store_id,
            stores,
            head=reference.as_of(),
            describe=partial(till_states, reference=reference),
        )
        return await stream_json(request, listed)

    async def get_completeness(self, request: web.Request) -> web.StreamResponse:
        """Stream the completeness report of one store or of all, epoch by epoch.

        `?from=` and `?to=`: of the captures of this period.
        """
        await self.readers.check(request)
        store_id = request.query.get("store")
        if store_id is not None and not await is_known_store(self.database, store_id):
            raise web.HTTPNotFound
        try:
            period = parse_period(request.query.get("from"), request.query.get("to"))
        except ValueError as error:
            raise bad_request(f"from, to: {error}") from None
        scope = Scope(self.reference(), store_id, period)
        return await stream_json(request, completeness_json(self.database, scope))

    async def get_session(self, request: web.Request) -> web.StreamResponse:
        """Stream all sessions with this correlation id, in any store; 404 if there are none."""
        await self.readers.check(request)
        correlation_id = request.match_info["correlation_id"]
        return await stream_json(request, sessions_json(self.database, correlation_id))

    async def get_metrics(self, request: web.Request) -> web.Response:
        """Return the metrics in Prometheus text format."""
        await self.readers.check(request)
        figures = await self.fleet_figures.get()
        headers = {"Content-Type": CONTENT_TYPE_LATEST}
        return web.Response(body=self.metrics.render(figures), headers=headers)

    async def get_liveness(self, _: web.Request) -> web.Response:
        """Liveness probe: 200 while the process serves requests."""
        return json_response({"status": "alive"})

    async def get_readiness(self, _: web.Request) -> web.Response:
        """Readiness probe: 200 if the ledger can be written, else 503 with the cause."""
        await self.readiness.check()
        return json_response({"status": "ready"})


def _paging(request: web.Request) -> tuple[str, int | None]:
    """Return the query's `after`, and its `limit` or None. Raises `HttpError` if invalid."""
    after, limit = request.query.get("after", ""), request.query.get("limit")
    if not is_valid_text(after):
        raise bad_request("after must be the id of a store")
    if limit is None:
        return after, None
    if not _LIMIT.fullmatch(limit):
        raise bad_request("limit must be a whole number from 1 to 9999")
    return after, int(limit)


async def stream_json(request: web.Request, chunks: AsyncIterator[bytes]) -> web.StreamResponse:
    """Respond with `chunks`; fetch the next one when the client has accepted the last.

    Without any chunk, the response is 404. Memory stays bounded for any length. An error before the
    first chunk is answered as usual; a later one cuts the connection, so that a partial document is
    never taken for a complete one. A client that leaves or stalls is disconnected without error.
    """
    answer = web.StreamResponse(headers=COMMON_HEADERS | JSON_TYPE)
    first = await anext(chunks, None)
    if first is None:
        raise web.HTTPNotFound
    try:
        await answer.prepare(request)
        await _send(answer, first)
        async for chunk in chunks:
            await _send(answer, chunk)
        await answer.write_eof()
    except BaseException as error:
        if request.transport is not None:
            request.transport.abort()
        if not isinstance(error, ClientConnectionResetError | _ClientStalledError):
            raise
    return answer


class _ClientStalledError(Exception):
    """The client accepts no data."""


async def _send(answer: web.StreamResponse, chunk: bytes) -> None:
    try:
        await asyncio.wait_for(answer.write(chunk), STALL_SECONDS)
    except TimeoutError:
        raise _ClientStalledError from None
