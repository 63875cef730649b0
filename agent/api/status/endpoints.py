"""Status, health and metrics: `/agent/v1/status`, `/healthz`, `/readyz`, `/metrics`."""

from typing import Literal, TypedDict

from aiohttp import web

from agent.api.context import CONTEXT
from agent.api.delivery import sync_metrics
from agent.api.responses import Operation
from agent.api.status.health import CHECK_TIMEOUT_SECONDS, read_health
from agent.api.status.health_metrics import health_metrics
from agent.api.status.report import StatusReport, status_report
from agent.store.files.storage_errors import StorageDownError, StorageFullError
from sync.runtime.network.http_server import json_response

_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class HealthReport(TypedDict):
    """The 200 of the health endpoints."""

    status: Literal["alive", "ready"]


@Operation(StatusReport)
async def show_status(request: web.Request) -> web.Response:
    """Return the status as JSON."""
    context = request.app[CONTEXT]
    return json_response(status_report(context, await read_health(context)))


@Operation("text/plain")
async def show_metrics(request: web.Request) -> web.Response:
    """Return the metrics in the Prometheus text format."""
    context = request.app[CONTEXT]
    families = health_metrics(context, await read_health(context))
    body = context.metrics.render([*families, *sync_metrics(context.delivery)])
    return web.Response(body=body, headers={"Content-Type": _METRICS_TYPE})


@Operation(HealthReport, needs_token=False)
async def is_alive(_: web.Request) -> web.Response:
    """Return 200: liveness, the process serves requests."""
    return json_response(HealthReport(status="alive"))


@Operation(HealthReport, ("503",), needs_token=False)
async def is_ready(request: web.Request) -> web.Response:
    """Return 200 if captures can be recorded now, else 503; independent of central."""
    try:
        await request.app[CONTEXT].writer.check(CHECK_TIMEOUT_SECONDS)
    except StorageFullError as full:
        # 507 is the answer to a rejected capture; readiness probes expect 503.
        raise StorageDownError(str(full)) from full
    return json_response(HealthReport(status="ready"))
