"""Upper bound for the capture benchmark: the agent's stack without storage.

aiohttp, uvloop and msgspec, with the same JSON requests and answers. `python -m
tests.bench.peers.bare --port N`.
"""

import argparse

import msgspec
import uvloop
from aiohttp import web

from tests.bench.peers.terms import EMAIL_ANSWER, SESSION_ANSWER

# Encode the constant parts once: the upper bound must not be slower than the agent.
BEFORE, _, AFTER = msgspec.json.encode(SESSION_ANSWER).rpartition(b'""')
EMAIL_BODY = msgspec.json.encode(EMAIL_ANSWER)


async def start_session(request: web.Request) -> web.Response:
    """Answer a session start."""
    start = msgspec.json.decode(await request.read())
    body = BEFORE + msgspec.json.encode(start["correlationId"]) + AFTER
    return web.Response(body=body, content_type="application/json")


async def answer_email(request: web.Request) -> web.Response:
    """Answer an e-mail request."""
    msgspec.json.decode(await request.read())
    return web.Response(body=EMAIL_BODY, content_type="application/json")


async def ready(_request: web.Request) -> web.Response:
    """Answer the readiness check."""
    return web.Response(text="ready")


def build_app() -> web.Application:
    """Create the application."""
    app = web.Application()
    app.router.add_get("/readyz", ready)
    app.router.add_post("/client/users/anonymous/sessions", start_session)
    app.router.add_put("/client/users/{correlation_id}/profile/email", answer_email)
    return app


def main() -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    web.run_app(
        build_app(),
        host="127.0.0.1",
        port=port,
        loop=uvloop.new_event_loop(),
        access_log=None,
        print=None,
    )


if __name__ == "__main__":
    main()
