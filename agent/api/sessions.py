"""Read-only endpoints: session state, status, status page, health, metrics, OpenAPI."""

import asyncio
import sqlite3

import msgspec
from aiohttp import web

from agent.api.context import CONTEXT
from agent.api.openapi import document
from agent.api.status import (
    CHECK_TIMEOUT_SECONDS,
    read_health,
    write_gauges,
    write_status,
)
from agent.api.status_page import status_page
from agent.api.till_calls import correlation_id_in
from agent.capture.session_start import is_correlation_id
from agent.store.files.storage_errors import StorageDownError, StorageFullError
from agent.store.queries import CaptureStatus
from sync.protocol.rfc3339 import us_to_rfc3339

_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


async def show_session(request: web.Request) -> web.Response:
    """Return the delivery state of a session and its e-mail answers; never an address."""
    reader = request.app[CONTEXT].reader
    correlation_id = correlation_id_in(request.rel_url.raw_path, segment=4)
    if not is_correlation_id(correlation_id):
        raise web.HTTPNotFound
    try:
        captures = await asyncio.to_thread(reader.session, correlation_id)
    except (sqlite3.Error, OSError) as error:
        raise StorageDownError(f"the database cannot be read ({error})") from error
    if not captures:
        raise web.HTTPNotFound
    start, answers = captures[0], captures[1:]
    shown = {"correlationId": correlation_id} | _shown(start)
    shown["emailAnswers"] = [{"status": answer.status} | _shown(answer) for answer in answers]
    return _json(shown)


async def show_status(request: web.Request) -> web.Response:
    """Return the status (`GET /agent/v1/status`)."""
    context = request.app[CONTEXT]
    return _json(write_status(context, await read_health(context)))


async def show_page(request: web.Request) -> web.Response:
    """Return the status as an HTML page for store IT (`GET /`)."""
    context = request.app[CONTEXT]
    page, policy = status_page(write_status(context, await read_health(context)))
    return web.Response(
        text=page, content_type="text/html", headers={"Content-Security-Policy": policy}
    )


async def show_metrics(request: web.Request) -> web.Response:
    """Return the metrics in the Prometheus text format (`GET /metrics`)."""
    context = request.app[CONTEXT]
    gauges = write_gauges(context, await read_health(context), context.now().wall_us)
    body = context.metrics.render(gauges)
    return web.Response(body=body, headers={"Content-Type": _METRICS_TYPE})


async def show_openapi(request: web.Request) -> web.Response:
    """Return the OpenAPI document (`GET /openapi.json`)."""
    return _json(document(request.app[CONTEXT].identity.version))


async def is_alive(_: web.Request) -> web.Response:
    """Return 200: liveness, the process serves requests."""
    return _json({"status": "alive"})


async def is_ready(request: web.Request) -> web.Response:
    """Return 200 if captures can be recorded now, else 503; independent of central."""
    try:
        await request.app[CONTEXT].writer.check(CHECK_TIMEOUT_SECONDS)
    except StorageFullError as full:
        # 507 is the answer to a rejected capture; readiness probes expect 503.
        raise StorageDownError(str(full)) from full
    return _json({"status": "ready"})


def _shown(capture: CaptureStatus) -> dict[str, object]:
    delivered_at_us = capture.delivered_at_us
    return {
        "epoch": capture.receipt.epoch,
        "sequence": capture.receipt.sequence,
        "capturedAt": us_to_rfc3339(capture.captured_at_us, "milliseconds"),
        "state": capture.state.value,
        "deliveredAt": None
        if delivered_at_us is None
        else us_to_rfc3339(delivered_at_us, "milliseconds"),
    }


def _json(content: object) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(content), headers={"Content-Type": "application/json"}
    )
