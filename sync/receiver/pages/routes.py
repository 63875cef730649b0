"""Routes and handlers of the pages."""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import TypeVar

import msgspec
from aiohttp import web
from sqlalchemy import Connection

from sync.receiver.auth.readers import ReaderAccess
from sync.receiver.db.database import Reads
from sync.receiver.pages.login import Login
from sync.receiver.pages.urls import parse_fleet_query
from sync.receiver.pages.views import PageRequest, Views
from sync.receiver.reports.conditions import Condition
from sync.receiver.reports.fleet import MAX_SHARED_NAMES, FleetPage, Sort, fleet_page
from sync.receiver.reports.history import HourTotals, columns, read_history
from sync.receiver.reports.json_views import find_sessions, is_valid_text
from sync.receiver.reports.shared_reads import SingleFlight, TTLCache
from sync.receiver.reports.store_details import MAX_COUNTED, MAX_ROWS, store_details
from sync.receiver.reports.store_list import is_known_store
from sync.receiver.reports.tills import Reference
from sync.runtime.network.http_server import JSON_TYPE
from sync.runtime.network.own_certificate import read_end

_STATIC = Path(__file__).parent / "static"
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_HISTORY_TTL_SECONDS = 10.0
# One in each of so many stores; a till chooses the ids of its sessions.
_STORES_SHOWN = 20
_T = TypeVar("_T")


class Pages:
    """The pages. All but sign-in and static files need read access."""

    def __init__(
        self,
        database: Reads,
        readers: ReaderAccess,
        now: Callable[[], datetime],
        own_version: str,
        now_seconds: Callable[[], float],
        certificate: Path | None,
    ) -> None:
        """Prepare the handlers; `now_seconds` is a monotonic clock, `certificate` the own one."""
        self._database = database
        self._readers = readers
        self._now = now
        self._own_version = own_version
        self._certificate = certificate
        self._views = Views(readers, now)
        # Cached: concurrent visitors and reloads share one query over the whole chain.
        self._chain = TTLCache(partial(self._read_history, ""), _HISTORY_TTL_SECONDS, now_seconds)
        self._fleet_pages: SingleFlight[FleetPage] = SingleFlight()
        self._login = Login(readers, self._views)
        self._static = {
            file.name: (file.read_bytes(), _TYPES[file.suffix])
            for file in _STATIC.iterdir()
            if file.suffix in _TYPES
        }

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Register the routes."""
        for_readers = self._views.for_readers
        router.add_get("/", for_readers(self._fleet))
        router.add_get("/stores/{store_id:.+}", for_readers(self._store))
        router.add_get("/sessions", for_readers(self._session))
        router.add_get("/sessions/{correlation_id:.+}", for_readers(self._session))
        router.add_get("/history", for_readers(self._history))
        router.add_get("/history.json", self._history_json)
        router.add_get("/static/{name}", self._static_file)
        self._login.add_routes(router)

    async def _fleet(self, page: PageRequest) -> web.Response:
        query = parse_fleet_query(page.request.query)
        # Shared: the page is read over the whole chain, and many people may have it open.
        read = partial(self._read, page, partial(fleet_page, query=query))
        values = {
            "query": query,
            "fleet": await self._fleet_pages.run(query, read),
            "conditions": list(Condition),
            "sorts": list(Sort),
            "own_version": self._own_version,
            "max_shared_names": MAX_SHARED_NAMES,
            "certificate_end": self._certificate and read_end(self._certificate),
        }
        return self._views.render(page, "fleet.html", values)

    async def _store(self, page: PageRequest) -> web.Response:
        store_id = page.request.match_info["store_id"]
        found = None
        if is_valid_text(store_id):
            found = await self._read(page, partial(store_details, store_id=store_id))
        if found is None:
            return self._views.error_page(page, "store.unknown", HTTPStatus.NOT_FOUND)
        bounds = {"max_rows": MAX_ROWS, "max_counted": MAX_COUNTED}
        values = {"store_id": store_id, "store": found, **bounds}
        return self._views.render(page, "store.html", values)

    async def _session(self, page: PageRequest) -> web.Response:
        request = page.request
        given = request.match_info.get("correlation_id") or request.query.get("id", "")
        found = await find_sessions(self._database, given.strip(), limit=_STORES_SHOWN + 1)
        if not found:
            return self._views.error_page(page, "session.unknown", HTTPStatus.NOT_FOUND)
        stores = list(dict.fromkeys(one["storeId"] for one in found))
        shown = [one for one in found if one["storeId"] in stores[:_STORES_SHOWN]]
        more = {"has_more": len(stores) > _STORES_SHOWN}
        values = {"session": given.strip(), "found": shown, **more}
        return self._views.render(page, "session.html", values)

    async def _history(self, page: PageRequest) -> web.Response:
        store_id = _store_id(page.request)
        if not await self._is_known(store_id):
            return self._views.error_page(page, "store.unknown", HTTPStatus.NOT_FOUND)
        values = {"store_id": store_id, "history": await self._cached_history(store_id)}
        return self._views.render(page, "history.html", values)

    async def _history_json(self, request: web.Request) -> web.Response:
        """Return the data of the charts as JSON; errors are those of the API."""
        await self._readers.check(request)
        store_id = _store_id(request)
        if not await self._is_known(store_id):
            raise web.HTTPNotFound
        history = await self._cached_history(store_id)
        return web.Response(body=msgspec.json.encode(columns(history)), headers=JSON_TYPE)

    async def _is_known(self, store_id: str) -> bool:
        """Return whether a store is known; no store means all of them."""
        return not store_id or await is_known_store(self._database, store_id)

    async def _cached_history(self, store_id: str) -> list[HourTotals]:
        return await (self._read_history(store_id) if store_id else self._chain.get())

    async def _read_history(self, store_id: str) -> list[HourTotals]:
        work = partial(read_history, now=self._now(), store_id=store_id or None)
        return await self._database.read(work)

    async def _static_file(self, request: web.Request) -> web.Response:
        found = self._static.get(request.match_info["name"])
        if found is None:
            raise web.HTTPNotFound
        body, content_type = found
        return web.Response(body=body, content_type=content_type, charset="utf-8")

    async def _read(self, page: PageRequest, work: Callable[[Connection, Reference], _T]) -> _T:
        reference = Reference(page.at, self._own_version)
        return await self._database.read(lambda connection: work(connection, reference))


def _store_id(request: web.Request) -> str:
    return request.query.get("store", "").replace("\0", "")
