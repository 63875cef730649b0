"""Routes of the API."""

import re
from collections.abc import Awaitable, Callable

from aiohttp import hdrs, web

from agent.api import dead_letters, delivery, openapi, sessions, status
from agent.api.context import CONTEXT, Context
from agent.api.fast_path import FastPath, TillCall
from agent.api.request_body import MAX_BODY_BYTES
from agent.api.responses import Acknowledgement
from agent.api.till_calls import TillCalls

FAST_PATH = web.AppKey("fast_path", FastPath)
# Unlike aiohttp's default pattern this one allows an empty segment and braces, so that an
# invalid id is answered by the capture rules and not by the router's 404.
_ID = "{correlation_id:[^/]*}"
_START_SESSION = "/client/users/anonymous/sessions"
_SET_EMAIL = f"/client/users/{_ID}/profile/email"
_DEAD_LETTERS = "/agent/v1/dead-letters"
_DEAD_LETTER = f"{_DEAD_LETTERS}/{{epoch}}/{{sequence}}"


def build_app(context: Context) -> web.Application:
    """Return the application with all routes."""
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    calls = TillCalls(context)
    app[CONTEXT] = context
    app[FAST_PATH] = FastPath(
        (
            TillCall(
                hdrs.METH_POST, _START_SESSION, re.compile(_START_SESSION), calls.start_session
            ),
            TillCall(
                hdrs.METH_PUT,
                _SET_EMAIL,
                re.compile(_SET_EMAIL.replace(_ID, "[^/]*")),
                calls.set_email,
            ),
        ),
        context.new_request_id,
    )
    app.router.add_post(_START_SESSION, _regular(calls.start_session))
    app.router.add_put(_SET_EMAIL, _regular(calls.set_email))
    app.router.add_get(f"/agent/v1/sessions/{_ID}", sessions.show_session)
    app.router.add_get("/agent/v1/status", status.show_status)
    app.router.add_post("/agent/v1/sync", delivery.start_pass)
    app.router.add_get(_DEAD_LETTERS, dead_letters.list_letters)
    app.router.add_get(_DEAD_LETTER, dead_letters.show_letter)
    app.router.add_post(f"{_DEAD_LETTER}/retry", dead_letters.retry_letter)
    app.router.add_post(f"{_DEAD_LETTER}/discard", dead_letters.discard_letter)
    app.router.add_get("/", status.show_page)
    app.router.add_get("/openapi.json", openapi.show_openapi)
    app.router.add_get("/healthz", status.is_alive)
    app.router.add_get("/readyz", status.is_ready)
    app.router.add_get("/metrics", status.show_metrics)
    return app


def _regular(
    call: Callable[[web.Request], Awaitable[Acknowledgement]],
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        return (await call(request)).response()

    return handle
