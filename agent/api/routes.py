"""Which address is answered by what."""

from aiohttp import web

from agent.api import handlers, queries
from agent.api.bodies import MAX_BODY_BYTES
from agent.api.context import CONTEXT, Context

# A segment may be empty, and may hold braces, which aiohttp's own pattern excludes: an
# impossible id is answered by the rules and not by the router.
_ANY_SEGMENT = "{correlation_id:[^/]*}"


def build_app(context: Context) -> web.Application:
    """Put the till API together."""
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app[CONTEXT] = context
    app.router.add_post("/client/users/anonymous/sessions", handlers.start_session)
    app.router.add_put(f"/client/users/{_ANY_SEGMENT}/profile/email", handlers.set_email)
    app.router.add_get(f"/agent/v1/sessions/{_ANY_SEGMENT}", queries.show_session)
    app.router.add_get("/agent/v1/status", queries.show_status)
    app.router.add_get("/", queries.show_page)
    app.router.add_get("/openapi.json", queries.show_openapi)
    app.router.add_get("/healthz", queries.is_alive)
    app.router.add_get("/readyz", queries.is_ready)
    app.router.add_get("/metrics", queries.show_metrics)
    return app
