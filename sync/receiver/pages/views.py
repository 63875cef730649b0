"""Page requests: language, read access, error pages, rendering with Jinja templates."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import TypeAlias

from aiohttp import hdrs, web
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from sqlalchemy.exc import SQLAlchemyError

from sync.receiver.auth.readers import Reader, ReaderAccess, SignInRefusal
from sync.receiver.errors import to_http_error
from sync.receiver.ingest.epochs.end import epoch_end
from sync.receiver.pages import urls
from sync.runtime.i18n import Language, load_languages, negotiate
from sync.runtime.network.http_errors import HttpError, log_error

_HERE = Path(__file__).parent
LANGUAGES = load_languages(_HERE / "messages")
# Only our own files may be loaded, run or sent to; no inline scripts or styles.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_STATUS_OF_REFUSAL = {
    SignInRefusal.WRONG_TOKEN: HTTPStatus.FORBIDDEN,
    SignInRefusal.LINK_SPENT: HTTPStatus.FORBIDDEN,
    SignInRefusal.WAIT: HTTPStatus.TOO_MANY_REQUESTS,
}


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A page request with its negotiated language; `at` is the time of its arrival.

    `reader` is None before access is checked.
    """

    request: web.Request
    language: Language
    at: datetime
    reader: Reader | None = None

    @property
    def lang(self) -> str:
        """The explicitly requested language, which all links then keep; else empty."""
        return self.language.code if "lang" in self.request.query else ""


@dataclass(frozen=True, slots=True)
class SignInForm:
    """State of the sign-in form, which leads on to `target`."""

    target: str
    refusal: SignInRefusal | None = None
    wait_seconds: int = 0
    status: HTTPStatus = HTTPStatus.OK


PageHandler: TypeAlias = Callable[[PageRequest], Awaitable[web.Response]]
Handler: TypeAlias = Callable[[web.Request], Awaitable[web.Response]]


class Views:
    """Wraps page handlers with access control and error pages; renders their responses."""

    def __init__(self, readers: ReaderAccess, now: Callable[[], datetime]) -> None:
        self._readers = readers
        self._now = now
        self._templates = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._templates.globals.update(
            store_url=urls.store_url,
            fleet_url=urls.fleet_url,
            history_url=urls.history_url,
            session_url=urls.session_url,
            format_time=_format_time,
            epoch_end=lambda row: epoch_end(partial(getattr, row)),
            languages=LANGUAGES,
        )

    def for_readers(self, handler: PageHandler) -> Handler:
        """Require read access; if there is a readers' token, offer sign-in."""

        async def respond(page: PageRequest) -> web.Response:
            try:
                reader = await self._readers.check(page.request)
            except HttpError as error:
                return self._refused(page, error)
            return await handler(replace(page, reader=reader))

        return self.for_everyone(respond)

    def _refused(self, page: PageRequest, error: HttpError) -> web.Response:
        form = SignInForm(page.request.path_qs, status=error.status)
        answer = self.sign_in_page(page, form)
        answer.headers.update(error.headers)
        return answer

    def for_everyone(self, handler: PageHandler) -> Handler:
        """Require no access rights; a database failure becomes an error page."""

        async def respond(request: web.Request) -> web.Response:
            accepted = request.headers.get(hdrs.ACCEPT_LANGUAGE, "")
            language = negotiate(LANGUAGES, request.query.get("lang", ""), accepted)
            page = PageRequest(request, language, self._now())
            try:
                return await handler(page)
            except (SQLAlchemyError, OSError) as error:
                log_error(to_http_error(error), error, f"{request.method} (page)")
                return self.error_page(page, "error.database", HTTPStatus.SERVICE_UNAVAILABLE)

        return respond

    def sign_in_page(self, page: PageRequest, form: SignInForm) -> web.Response:
        """Return the sign-in form; without a readers' token an error page."""
        if not self._readers.has_token:
            return self.error_page(page, "error.no_access", HTTPStatus.UNAUTHORIZED)
        status = _STATUS_OF_REFUSAL[form.refusal] if form.refusal else form.status
        answer = self.render(page, "sign_in.html", {"form": form}, status)
        if form.refusal is SignInRefusal.WAIT:
            answer.headers[hdrs.RETRY_AFTER] = str(form.wait_seconds)
        return answer

    def error_page(self, page: PageRequest, message: str, status: HTTPStatus) -> web.Response:
        """Return an error page with the message of this name."""
        return self.render(page, "error.html", {"message": message}, status)

    def render(
        self,
        page: PageRequest,
        template: str,
        values: Mapping[str, object],
        status: HTTPStatus = HTTPStatus.OK,
    ) -> web.Response:
        """Render a page; `values` are the template's variables, `t` translates its messages."""
        common = {
            "t": page.language,
            "lang": page.lang,
            "now": page.at,
            "other_languages": {
                other: str(page.request.rel_url.update_query(lang=other.code))
                for other in LANGUAGES.values()
            },
            "is_signed_in": page.reader is not None and page.reader.is_signed_in,
        }
        html = self._templates.get_template(template).render(common | dict(values))
        headers = {
            "Content-Security-Policy": CONTENT_SECURITY_POLICY,
            "Content-Language": page.language.code,
        }
        return web.Response(
            text=html, status=status, content_type="text/html", charset="utf-8", headers=headers
        )


def _format_time(at: datetime) -> str:
    """Format a timestamp in UTC, to the second: 2026-01-31 12:00:00."""
    return at.replace(tzinfo=None).isoformat(sep=" ", timespec="seconds")
