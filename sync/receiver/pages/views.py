"""Page requests: language, read access, error pages, rendering."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import TypeAlias

from aiohttp import hdrs, web
from sqlalchemy.exc import SQLAlchemyError

from sync.receiver.auth.authenticate import ReaderAccess
from sync.receiver.errors import to_http_error
from sync.receiver.pages.i18n import Language, choose, languages
from sync.receiver.pages.rendering import POLICY, Templates
from sync.runtime.http_errors import HttpError, log_error


@dataclass(frozen=True, slots=True)
class Visit:
    """A page request with its negotiated language."""

    request: web.Request
    say: Language
    at: datetime

    @property
    def lang(self) -> str:
        """The explicitly requested language, which all links then keep; else empty."""
        return self.say.code if "lang" in self.request.query else ""


Answering: TypeAlias = Callable[[Visit], Awaitable[web.Response]]
Handler: TypeAlias = Callable[[web.Request], Awaitable[web.Response]]


class Visits:
    """Wraps page handlers with access control and error pages; renders their responses."""

    def __init__(self, readers: ReaderAccess, now: Callable[[], datetime]) -> None:
        self._readers = readers
        self._now = now
        self._templates = Templates()

    def of_readers(self, answering: Answering) -> Handler:
        """Require read access; if there is an admin token, offer sign-in."""

        async def answer(visit: Visit) -> web.Response:
            try:
                self._readers.check(visit.request)
            except HttpError:
                if not self._readers.has_admin_token:
                    return self.trouble(visit, "trouble.no_access", HTTPStatus.UNAUTHORIZED)
                target = visit.request.path_qs
                return self.ask_to_sign_in(visit, target, HTTPStatus.UNAUTHORIZED)
            return await answering(visit)

        return self.of_all(answer)

    def of_all(self, answering: Answering) -> Handler:
        """Require no access rights."""

        async def answer(request: web.Request) -> web.Response:
            accepted = request.headers.get(hdrs.ACCEPT_LANGUAGE, "")
            visit = Visit(request, choose(request.query.get("lang", ""), accepted), self._now())
            try:
                return await answering(visit)
            except (SQLAlchemyError, OSError) as error:
                log_error(to_http_error(error), error, f"{request.method} (page)")
                return self.trouble(visit, "trouble.ledger", HTTPStatus.SERVICE_UNAVAILABLE)

        return answer

    def ask_to_sign_in(
        self, visit: Visit, target: str, status: HTTPStatus = HTTPStatus.OK
    ) -> web.Response:
        """Return the sign-in form, which leads on to `target`."""
        values = {"next": target, "is_wrong": status is HTTPStatus.FORBIDDEN}
        return self.page(visit, "sign_in.html", values, status)

    def trouble(self, visit: Visit, words: str, status: HTTPStatus) -> web.Response:
        """Return an error page with the message `words`."""
        return self.page(visit, "trouble.html", {"words": words}, status)

    def page(
        self,
        visit: Visit,
        template: str,
        values: Mapping[str, object],
        status: HTTPStatus = HTTPStatus.OK,
    ) -> web.Response:
        """Render a page; `values` are the template's variables."""
        shown = {
            "lang": visit.lang,
            "now": visit.at,
            "other_languages": {
                other: str(visit.request.rel_url.update_query(lang=other.code))
                for other in languages().values()
            },
            "is_signed_in": self._readers.is_signed_in(visit.request),
        }
        page = self._templates.render(template, visit.say, shown | dict(values))
        headers = {"Content-Security-Policy": POLICY, "Content-Language": visit.say.code}
        return web.Response(
            text=page, status=status, content_type="text/html", charset="utf-8", headers=headers
        )
