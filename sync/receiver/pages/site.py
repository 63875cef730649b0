"""Which address of the pages is answered by what, and to whom."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qs

import msgspec
from aiohttp import hdrs, web
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from sync.receiver.access import ReaderAccess
from sync.receiver.database import Database
from sync.receiver.pages.conditions import Condition
from sync.receiver.pages.fleet import Sort, fleet
from sync.receiver.pages.history import History, history
from sync.receiver.pages.language import Language, choose, languages
from sync.receiver.pages.one_store import MOST_SHOWN, one_store
from sync.receiver.pages.questions import is_own, read_question
from sync.receiver.pages.rendering import POLICY, Templates
from sync.receiver.pages.tills import Moment
from sync.receiver.problems import Problem, log_problem, problem_of, too_large
from sync.receiver.signing_in import COOKIE, GOOD_FOR
from sync.receiver.views import Views

_STATIC = Path(__file__).parent / "static"
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_MOST_FORM_BYTES = 8192
_T = TypeVar("_T")
_Answering = Callable[["Visit"], Awaitable[web.Response]]


@dataclass(frozen=True, slots=True)
class Visit:
    """A request for a page, in the language of whoever makes it."""

    request: web.Request
    say: Language
    at: datetime

    @property
    def lang(self) -> str:
        """The language that was asked for by name, which then all links ask for; else nothing."""
        return self.say.code if "lang" in self.request.query else ""


class Pages:
    """The pages of head office. Everything on them but signing in needs the right to read."""

    def __init__(
        self,
        database: Database,
        readers: ReaderAccess,
        now: Callable[[], datetime],
        own_version: str,
    ) -> None:
        self._database = database
        self._views = Views(database)
        self._readers = readers
        self._now = now
        self._own_version = own_version
        self._templates = Templates()
        self._static = {
            file.name: (file.read_bytes(), _TYPES[file.suffix])
            for file in _STATIC.iterdir()
            if file.suffix in _TYPES
        }

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Serve the pages."""
        router.add_get("/", self._to_readers(self._show_fleet))
        router.add_get("/stores/{store_id:.+}", self._to_readers(self._show_store))
        router.add_get("/sessions", self._to_readers(self._show_session))
        router.add_get("/sessions/{correlation_id:.+}", self._to_readers(self._show_session))
        router.add_get("/history", self._to_readers(self._show_history))
        router.add_get("/history.json", self._tell_history)
        router.add_get("/sign-in", self._to_all(self._show_sign_in))
        router.add_post("/sign-in", self._to_all(self._sign_in))
        router.add_post("/sign-out", self._to_all(self._sign_out))
        router.add_get("/static/{name}", self._show_static)

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
        return self._page(visit, "fleet.html", values)

    async def _show_store(self, visit: Visit) -> web.Response:
        store_id = visit.request.match_info["store_id"]
        found = await self._read(visit, partial(one_store, store_id=store_id))
        if found is None:
            return self._trouble(visit, "store.gone", HTTPStatus.NOT_FOUND)
        values = {"store_id": store_id, "store": found, "most": MOST_SHOWN}
        return self._page(visit, "store.html", values)

    async def _show_session(self, visit: Visit) -> web.Response:
        asked = visit.request.match_info.get("correlation_id") or visit.request.query.get("id", "")
        # No database keeps NUL in a text, nor asks for it.
        found = [] if "\0" in asked else await self._views.sessions(asked.strip())
        if not found:
            return self._trouble(visit, "session.gone", HTTPStatus.NOT_FOUND)
        return self._page(visit, "session.html", {"session": asked.strip(), "found": found})

    async def _show_history(self, visit: Visit) -> web.Response:
        store_id = _store_of(visit.request)
        found = await self._history(store_id, visit.at)
        return self._page(visit, "history.html", {"store_id": store_id, "history": found})

    async def _tell_history(self, request: web.Request) -> web.Response:
        """Answer what the plots are drawn from; errors are those of the API."""
        self._readers.check(request)
        found = await self._history(_store_of(request), self._now())
        return web.Response(
            body=msgspec.json.encode(found.columns()), content_type="application/json"
        )

    async def _history(self, store_id: str, at: datetime) -> History:
        return await self._database.read(partial(history, now=at, store_id=store_id or None))

    async def _show_sign_in(self, visit: Visit) -> web.Response:
        return self._signing_in(visit, visit.request.query.get("next", "/"))

    async def _sign_in(self, visit: Visit) -> web.Response:
        form = await _form(visit.request)
        target = form.get("next", "/")
        signed = self._readers.sign_in(form.get("token", "").strip())
        if signed is None:
            return self._signing_in(visit, target, HTTPStatus.FORBIDDEN)
        answer = _see_other(target if is_own(target) else "/")
        answer.set_cookie(
            COOKIE,
            signed,
            max_age=int(GOOD_FOR.total_seconds()),
            httponly=True,
            samesite="Strict",
            secure=visit.request.secure,
        )
        return answer

    async def _sign_out(self, visit: Visit) -> web.Response:
        answer = _see_other("/sign-in")
        answer.del_cookie(COOKIE, httponly=True, samesite="Strict", secure=visit.request.secure)
        return answer

    async def _show_static(self, request: web.Request) -> web.Response:
        found = self._static.get(request.match_info["name"])
        if found is None:
            raise web.HTTPNotFound
        body, kind = found
        return web.Response(body=body, content_type=kind, charset="utf-8")

    def _to_readers(
        self, answering: _Answering
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        """Let only readers in; where there is a token, others may sign in with it."""

        async def answer(visit: Visit) -> web.Response:
            try:
                self._readers.check(visit.request)
            except Problem:
                if not self._readers.takes_token:
                    return self._trouble(visit, "trouble.no_access", HTTPStatus.UNAUTHORIZED)
                return self._signing_in(visit, visit.request.path_qs, HTTPStatus.UNAUTHORIZED)
            return await answering(visit)

        return self._to_all(answer)

    def _to_all(self, answering: _Answering) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(request: web.Request) -> web.Response:
            accepted = request.headers.get(hdrs.ACCEPT_LANGUAGE, "")
            visit = Visit(request, choose(request.query.get("lang", ""), accepted), self._now())
            try:
                return await answering(visit)
            except (SQLAlchemyError, OSError) as error:
                log_problem(problem_of(error), error, f"{request.method} (page)")
                return self._trouble(visit, "trouble.ledger", HTTPStatus.SERVICE_UNAVAILABLE)

        return answer

    async def _read(self, visit: Visit, work: Callable[[Connection, Moment], _T]) -> _T:
        def reading(connection: Connection) -> _T:
            return work(connection, Moment(visit.at, self._own_version, connection.dialect))

        return await self._database.read(reading)

    def _signing_in(
        self, visit: Visit, target: str, status: HTTPStatus = HTTPStatus.OK
    ) -> web.Response:
        values = {"next": target, "is_wrong": status is HTTPStatus.FORBIDDEN}
        return self._page(visit, "sign_in.html", values, status)

    def _trouble(self, visit: Visit, words: str, status: HTTPStatus) -> web.Response:
        return self._page(visit, "trouble.html", {"words": words}, status)

    def _page(
        self,
        visit: Visit,
        template: str,
        values: Mapping[str, object],
        status: HTTPStatus = HTTPStatus.OK,
    ) -> web.Response:
        shown = {
            "lang": visit.lang,
            "now": visit.at,
            "other_languages": {
                other: str(visit.request.rel_url.update_query(lang=other.code))
                for other in languages().values()
            },
            "has_signed_in": self._readers.has_signed_in(visit.request),
        }
        page = self._templates.render(template, visit.say, shown | dict(values))
        headers = {"Content-Security-Policy": POLICY, "Content-Language": visit.say.code}
        return web.Response(
            text=page, status=status, content_type="text/html", charset="utf-8", headers=headers
        )


def _store_of(request: web.Request) -> str:
    return request.query.get("store", "").replace("\0", "")


async def _form(request: web.Request) -> dict[str, str]:
    """Return the fields of a short form."""
    body = bytearray()
    async for chunk in request.content.iter_chunked(_MOST_FORM_BYTES):
        body += chunk
        if len(body) > _MOST_FORM_BYTES:
            raise too_large(f"The form has more than {_MOST_FORM_BYTES} bytes")
    fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
    return {name: values[0] for name, values in fields.items()}


def _see_other(target: str) -> web.Response:
    return web.Response(status=HTTPStatus.SEE_OTHER, headers={hdrs.LOCATION: target})
