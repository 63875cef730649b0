"""Sign-in with the admin token, and sign-out."""

import asyncio
import logging
from http import HTTPStatus
from urllib.parse import parse_qs

from aiohttp import hdrs, web

from sync.protocol.wire import ErrorCode
from sync.receiver.auth.authenticate import COOKIE_LIFETIME, COOKIE_NAME, ReaderAccess
from sync.receiver.pages.urls import is_local
from sync.receiver.pages.views import PageRequest, Views
from sync.runtime.http_errors import HttpError, bad_request
from sync.runtime.logging import log_event

_log = logging.getLogger(__name__)
_MAX_FORM_BYTES = 8192
# For the whole form, which is a single line; limits slow-body attacks.
_FORM_SECONDS = 10.0


class Login:
    """Exchanges the admin token for a session cookie."""

    def __init__(self, readers: ReaderAccess, views: Views) -> None:
        self._readers = readers
        self._views = views

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Register the routes."""
        router.add_get("/sign-in", self._views.for_everyone(self._show))
        router.add_post("/sign-in", self._views.for_everyone(self._sign_in))
        router.add_post("/sign-out", self._views.for_everyone(self._sign_out))

    async def _show(self, page: PageRequest) -> web.Response:
        return self._views.sign_in_form(page, page.request.query.get("next", "/"))

    async def _sign_in(self, page: PageRequest) -> web.Response:
        form = await _form(page.request)
        target = form.get("next", "/")
        cookie = self._readers.sign_in(form.get("token", "").strip())
        if cookie is None:
            log_event(_log, logging.WARNING, "reader.sign_in_failed")
            return self._views.sign_in_form(page, target, HTTPStatus.FORBIDDEN)
        answer = _see_other(target if is_local(target) else "/")
        answer.set_cookie(
            COOKIE_NAME,
            cookie,
            max_age=int(COOKIE_LIFETIME.total_seconds()),
            httponly=True,
            samesite="Strict",
            secure=page.request.secure,
        )
        return answer

    async def _sign_out(self, page: PageRequest) -> web.Response:
        answer = _see_other("/sign-in")
        answer.del_cookie(COOKIE_NAME, httponly=True, samesite="Strict", secure=page.request.secure)
        return answer


async def _form(request: web.Request) -> dict[str, str]:
    """Return the form fields. Raises `HttpError` if the body is too long, too slow or malformed."""
    try:
        async with asyncio.timeout(_FORM_SECONDS):
            # The clone has a body limit of its own.
            body = await request.clone(client_max_size=_MAX_FORM_BYTES).read()
    except TimeoutError:
        raise HttpError(
            HTTPStatus.REQUEST_TIMEOUT,
            "The form did not arrive in time",
            ErrorCode.INVALID_REQUEST,
            {"Connection": "close"},
        ) from None
    except (web.RequestPayloadError, ConnectionError):
        raise bad_request("The form is broken or incomplete") from None
    fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
    return {name: values[0] for name, values in fields.items()}


def _see_other(target: str) -> web.Response:
    return web.Response(status=HTTPStatus.SEE_OTHER, headers={hdrs.LOCATION: target})
