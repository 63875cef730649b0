"""Sign-in with the readers' token or a one-time link, and sign-out."""

import asyncio
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

from aiohttp import hdrs, web

from sync.receiver.auth.reader_sessions import LIFETIME
from sync.receiver.auth.readers import ReaderAccess
from sync.receiver.pages.urls import is_local
from sync.receiver.pages.views import PageHandler, PageRequest, SignInForm, Views
from sync.runtime.network.http_errors import bad_request, timed_out

_MAX_FORM_BYTES = 8192
# For the whole form, which is a single line; limits slow-body attacks.
_FORM_SECONDS = 10.0
_OWN_SITES = frozenset({"same-origin", "none"})


class Login:
    """Exchanges the readers' token, or the link's secret, for a session cookie."""

    def __init__(self, readers: ReaderAccess, views: Views) -> None:
        self._readers = readers
        self._views = views

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Register the routes."""
        router.add_get("/sign-in", self._views.for_everyone(self._show))
        router.add_post("/sign-in", self._views.for_everyone(self._from_own_form(self._sign_in)))
        router.add_post("/sign-out", self._views.for_everyone(self._from_own_form(self._sign_out)))

    def _from_own_form(self, handler: PageHandler) -> PageHandler:
        """Refuse the forms of other sites (cross-site request forgery)."""

        async def respond(page: PageRequest) -> web.Response:
            if not _is_same_origin(page.request, self._readers.peers.host_of(page.request)):
                return self._views.error_page(page, "error.other_site", HTTPStatus.FORBIDDEN)
            return await handler(page)

        return respond

    async def _show(self, page: PageRequest) -> web.Response:
        return self._views.sign_in_page(page, SignInForm(page.request.query.get("next", "/")))

    async def _sign_in(self, page: PageRequest) -> web.Response:
        form = await _form(page.request)
        target = form.get("next", "/")
        token, link = form.get("token", "").strip(), form.get("link", "")
        outcome = await self._readers.sign_in(page.request, token, link)
        if not isinstance(outcome, str):
            reason, wait_seconds = outcome
            return self._views.sign_in_page(page, SignInForm(target, reason, wait_seconds))
        answer = _see_other(target if is_local(target) else "/")
        name, is_https = self._readers.cookie_name(page.request), self._is_https(page)
        answer.set_cookie(
            name,
            outcome,
            max_age=int(LIFETIME.total_seconds()),
            httponly=True,
            samesite="Strict",
            secure=is_https,
        )
        return answer

    async def _sign_out(self, page: PageRequest) -> web.Response:
        await self._readers.sign_out(page.request)
        answer = _see_other("/sign-in")
        name, is_https = self._readers.cookie_name(page.request), self._is_https(page)
        answer.del_cookie(name, httponly=True, samesite="Strict", secure=is_https)
        return answer

    def _is_https(self, page: PageRequest) -> bool:
        return self._readers.peers.is_https(page.request)


def _is_same_origin(request: web.Request, host: str) -> bool:
    """Return whether a page of this server sent the form, or no browser did.

    Browsers send `Sec-Fetch-Site` over https and on this machine, older ones and plain HTTP
    `Origin`. "same-site" is refused too: it is any other port of this machine.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in _OWN_SITES
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is None:
        return True
    try:
        return urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:
        return False


async def _form(request: web.Request) -> dict[str, str]:
    """Return the form fields. Raises `HttpError` if the body is too long, too slow or malformed."""
    try:
        async with asyncio.timeout(_FORM_SECONDS):
            # The clone has a body limit of its own.
            body = await request.clone(client_max_size=_MAX_FORM_BYTES).read()
    except TimeoutError:
        raise timed_out("The form did not arrive in time") from None
    except (web.RequestPayloadError, ConnectionError):
        raise bad_request("The form is broken or incomplete") from None
    fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
    return {name: values[0] for name, values in fields.items()}


def _see_other(target: str) -> web.Response:
    return web.Response(status=HTTPStatus.SEE_OTHER, headers={hdrs.LOCATION: target})
