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

from sync.receiver.auth.authenticate import ReaderAccess
from sync.receiver.db.database import Database
from sync.receiver.pages.login import Door
from sync.receiver.pages.urls import read_question
from sync.receiver.pages.views import Visit, Visits
from sync.receiver.reports.conditions import Condition
from sync.receiver.reports.fleet import Sort, fleet
from sync.receiver.reports.history import History, history
from sync.receiver.reports.json_views import find_sessions, is_valid_text
from sync.receiver.reports.store import MOST_SHOWN, one_store
from sync.receiver.reports.tills import Moment
from sync.receiver.reports.ttl_cache import TTLCache

_STATIC = Path(__file__).parent / "static"
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_HISTORY_SECONDS = 10.0
_T = TypeVar("_T")


class Pages:
    """The pages. All but sign-in and static files need read access."""

    def __init__(
        self,
        database: Database,
        readers: ReaderAccess,
        now: Callable[[], datetime],
        own_version: str,
        now_seconds: Callable[[], float],
    ) -> None:
        """Prepare the handlers; `now_seconds` is a monotonic clock."""
        self._database = database
        self._readers = readers
        self._now = now
        self._own_version = own_version
        self._visits = Visits(readers, now)
        # Cached: concurrent visitors and reloads share one query over the whole chain.
        self._chain = TTLCache(partial(self._sum_up, ""), _HISTORY_SECONDS, now_seconds)
        self._door = Door(readers, self._visits)
        self._static = {
            file.name: (file.read_bytes(), _TYPES[file.suffix])
            for file in _STATIC.iterdir()
            if file.suffix in _TYPES
        }

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Register the routes."""
        of_readers = self._visits.of_readers
        router.add_get("/", of_readers(self._show_fleet))
        router.add_get("/stores/{store_id:.+}", of_readers(self._show_store))
        router.add_get("/sessions", of_readers(self._show_session))
        router.add_get("/sessions/{correlation_id:.+}", of_readers(self._show_session))
        router.add_get("/history", of_readers(self._show_history))
        router.add_get("/history.json", self._tell_history)
        router.add_get("/static/{name}", self._show_static)
        self._door.add_routes(router)

    async def _show_fleet(self, visit: Visit) -> web.Response:
        question = read_question(visit.request.query)
        found = await self._read(visit, partial(fleet, question=question))
        values = {
            "question": question,
            "fleet": found,
            "conditions": list(Condition),
            "sorts": list(Sort),
            "own_version": self._own_version,
        }
        return self._visits.page(visit, "fleet.html", values)

    async def _show_store(self, visit: Visit) -> web.Response:
        store_id = visit.request.match_info["store_id"]
        found = None
        if is_valid_text(store_id):
            found = await self._read(visit, partial(one_store, store_id=store_id))
        if found is None:
            return self._visits.trouble(visit, "store.gone", HTTPStatus.NOT_FOUND)
        values = {"store_id": store_id, "store": found, "most": MOST_SHOWN}
        return self._visits.page(visit, "store.html", values)

    async def _show_session(self, visit: Visit) -> web.Response:
        asked = visit.request.match_info.get("correlation_id") or visit.request.query.get("id", "")
        found = await find_sessions(self._database, asked.strip())
        if not found:
            return self._visits.trouble(visit, "session.gone", HTTPStatus.NOT_FOUND)
        return self._visits.page(visit, "session.html", {"session": asked.strip(), "found": found})

    async def _show_history(self, visit: Visit) -> web.Response:
        store_id = _store_of(visit.request)
        found = await self._history(store_id)
        return self._visits.page(visit, "history.html", {"store_id": store_id, "history": found})

    async def _tell_history(self, request: web.Request) -> web.Response:
        """Return the data of the charts as JSON; errors are those of the API."""
        self._readers.check(request)
        found = await self._history(_store_of(request))
        return web.Response(
            body=msgspec.json.encode(found.columns()), content_type="application/json"
        )

    async def _history(self, store_id: str) -> History:
        return await (self._sum_up(store_id) if store_id else self._chain.get())

    async def _sum_up(self, store_id: str) -> History:
        summing = partial(history, now=self._now(), store_id=store_id or None)
        return await self._database.read(summing)

    async def _show_static(self, request: web.Request) -> web.Response:
        found = self._static.get(request.match_info["name"])
        if found is None:
            raise web.HTTPNotFound
        body, kind = found
        return web.Response(body=body, content_type=kind, charset="utf-8")

    async def _read(self, visit: Visit, work: Callable[[Connection, Moment], _T]) -> _T:
        def reading(connection: Connection) -> _T:
            return work(connection, Moment(visit.at, self._own_version, connection.dialect))

        return await self._database.read(reading)


def _store_of(request: web.Request) -> str:
    return request.query.get("store", "").replace("\0", "")
