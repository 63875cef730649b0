"""Routes of the API."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import hdrs, web

from agent.api import dead_letters, delivery
from agent.api import sessions as queries
from agent.api.context import CONTEXT, Context
from agent.api.request_body import MAX_BODY_BYTES
from agent.api.responses import Success
from agent.api.till_calls import TillCalls

TillCall = Callable[[web.Request], Awaitable[Success]]
# Unlike aiohttp's default pattern this one allows an empty segment and braces, so that an
# invalid id is answered by the capture rules and not by the router's 404.
_ANY_SEGMENT = "{correlation_id:[^/]*}"
_ANY_PLACE = "{epoch}/{sequence}"
_LETTERS = "/agent/v1/dead-letters"
_SESSIONS = "/client/users/anonymous/sessions"
_EMAIL = f"/client/users/{_ANY_SEGMENT}/profile/email"
_EMAIL_PATH = re.compile("/client/users/[^/]*/profile/email")


@dataclass(frozen=True, slots=True)
class Route:
    """A handler and its path pattern; the pattern is safe to log, the path is not."""

    handler: TillCall
    pattern: str


class StraightRoutes:
    """Fast routing of the two till calls.

    aiohttp's router would cost more than parsing and checking such a request. It has both
    routes as well, and handles every other spelling of them.
    """

    def __init__(self, calls: TillCalls) -> None:
        self._start_session = Route(calls.start_session, _SESSIONS)
        self._set_email = Route(calls.set_email, _EMAIL)

    def find(self, request: web.BaseRequest) -> Route | None:
        """Return the route of a plain till call; None to leave the request to the router."""
        path = request.rel_url.raw_path
        if request.method == hdrs.METH_POST and path == _SESSIONS:
            found = self._start_session
        elif request.method == hdrs.METH_PUT and _EMAIL_PATH.fullmatch(path):
            found = self._set_email
        else:
            return None
        return None if hdrs.EXPECT in request.headers else found


ROUTES = web.AppKey("routes", StraightRoutes)


def build_app(context: Context) -> web.Application:
    """Return the application with all routes."""
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    calls = TillCalls(context)
    app[CONTEXT] = context
    app[ROUTES] = StraightRoutes(calls)
    app.router.add_post(_SESSIONS, _by_the_router(calls.start_session))
    app.router.add_put(_EMAIL, _by_the_router(calls.set_email))
    app.router.add_get(f"/agent/v1/sessions/{_ANY_SEGMENT}", queries.show_session)
    app.router.add_get("/agent/v1/status", queries.show_status)
    app.router.add_post("/agent/v1/sync", delivery.try_now)
    app.router.add_get(_LETTERS, dead_letters.list_letters)
    app.router.add_get(f"{_LETTERS}/{_ANY_PLACE}", dead_letters.show_letter)
    app.router.add_post(f"{_LETTERS}/{_ANY_PLACE}/retry", dead_letters.retry_letter)
    app.router.add_post(f"{_LETTERS}/{_ANY_PLACE}/discard", dead_letters.discard_letter)
    app.router.add_get("/", queries.show_page)
    app.router.add_get("/openapi.json", queries.show_openapi)
    app.router.add_get("/healthz", queries.is_alive)
    app.router.add_get("/readyz", queries.is_ready)
    app.router.add_get("/metrics", queries.show_metrics)
    return app


def _by_the_router(call: TillCall) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handler(request: web.Request) -> web.StreamResponse:
        return (await call(request)).response()

    return handler
