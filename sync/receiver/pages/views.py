"""A visit to a page: in whose language, with what right to read, and how it is answered."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import TypeAlias

from aiohttp import hdrs, web
from sqlalchemy.exc import SQLAlchemyError

from sync.receiver.auth.access import ReaderAccess
from sync.receiver.errors import Problem, log_problem, problem_of
from sync.receiver.pages.i18n import Language, choose, languages
from sync.receiver.pages.rendering import POLICY, Templates


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


Answering: TypeAlias = Callable[[Visit], Awaitable[web.Response]]
Handler: TypeAlias = Callable[[web.Request], Awaitable[web.Response]]


class Visits:
    """Receives whoever comes, and writes what they are shown."""

    def __init__(self, readers: ReaderAccess, now: Callable[[], datetime]) -> None:
        self._readers = readers
        self._now = now
        self._templates = Templates()

    def of_readers(self, answering: Answering) -> Handler:
        """Let only readers in; where there is a token, others may sign in with it."""

        async def answer(visit: Visit) -> web.Response:
            try:
                self._readers.check(visit.request)
            except Problem:
                if not self._readers.takes_token:
                    return self.trouble(visit, "trouble.no_access", HTTPStatus.UNAUTHORIZED)
                target = visit.request.path_qs
                return self.ask_to_sign_in(visit, target, HTTPStatus.UNAUTHORIZED)
            return await answering(visit)

        return self.of_all(answer)

    def of_all(self, answering: Answering) -> Handler:
        """Let everybody in."""

        async def answer(request: web.Request) -> web.Response:
            accepted = request.headers.get(hdrs.ACCEPT_LANGUAGE, "")
            visit = Visit(request, choose(request.query.get("lang", ""), accepted), self._now())
            try:
                return await answering(visit)
            except (SQLAlchemyError, OSError) as error:
                log_problem(problem_of(error), error, f"{request.method} (page)")
                return self.trouble(visit, "trouble.ledger", HTTPStatus.SERVICE_UNAVAILABLE)

        return answer

    def ask_to_sign_in(
        self, visit: Visit, target: str, status: HTTPStatus = HTTPStatus.OK
    ) -> web.Response:
        """Return the form to sign in with, and then to go on to `target`."""
        values = {"next": target, "is_wrong": status is HTTPStatus.FORBIDDEN}
        return self.page(visit, "sign_in.html", values, status)

    def trouble(self, visit: Visit, words: str, status: HTTPStatus) -> web.Response:
        """Return a page that says, in the words of this name, what cannot be shown and why."""
        return self.page(visit, "trouble.html", {"words": words}, status)

    def page(
        self,
        visit: Visit,
        template: str,
        values: Mapping[str, object],
        status: HTTPStatus = HTTPStatus.OK,
    ) -> web.Response:
        """Return a page; `values` are known in its template by their names."""
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
