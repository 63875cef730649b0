"""Delivery state for status and metrics, and `POST /agent/v1/sync`, which starts a pass."""

import asyncio
import contextlib
from http import HTTPStatus
from typing import Annotated, TypedDict

import msgspec
from aiohttp import web
from prometheus_client.core import Metric

from agent.api.context import CONTEXT, Context
from agent.api.metrics import counter, gauge
from agent.api.responses import Count, Operation, Time, timestamp
from sync.delivery.delivery_loop import DeliveryLoop
from sync.delivery.delivery_status import DeliveryStatus, LoopState, PassTotals
from sync.delivery.outbox import OutboxUnavailable
from sync.protocol.wire import ErrorCode
from sync.runtime.network.http_errors import HttpError
from sync.runtime.network.http_server import json_response

CAPTURE_ONLY = "capture only"
_STATES = [CAPTURE_ONLY, *(state.value for state in LoopState)]


class SyncReport(TypedDict):
    """Delivery state; `trouble` to `nextTryInSeconds` describe the failure, if any."""

    state: Annotated[str, msgspec.Meta(extra_json_schema={"enum": _STATES})]
    trouble: str | None
    detail: str | None
    httpStatus: Count | None
    failures: Count
    nextTryInSeconds: float | None
    lastDeliveryAt: Time | None
    passes: Count
    delivered: Count
    refused: Count


def sync_report(context: Context) -> SyncReport:
    """Return the delivery state; totals count since the start of the agent."""
    delivery = context.delivery
    status = delivery.status if delivery else DeliveryStatus(LoopState.IDLE)
    totals = delivery.totals if delivery else PassTotals()
    return {
        "state": status.state.value if delivery else CAPTURE_ONLY,
        "trouble": status.cause,
        "detail": status.detail,
        "httpStatus": status.http_status,
        "failures": status.failures,
        "nextTryInSeconds": _seconds_until(status.next_try_at),
        "lastDeliveryAt": _wall_time(context, status.last_success_at),
        "passes": totals.passes,
        "delivered": totals.delivered,
        "refused": totals.refused,
    }


def sync_metrics(delivery: DeliveryLoop | None) -> list[Metric]:
    """Return the metrics of delivery; none if central is not configured."""
    if delivery is None:
        return []
    status, totals = delivery.status, delivery.totals
    is_held = status.state is LoopState.HOLDING
    return [
        gauge("sync_holding", "1 while head office or a proxy rejects this agent", is_held),
        gauge("sync_failures", "Failed passes since the last successful one", status.failures),
        counter("sync_passes", "Delivery passes", totals.passes),
        counter("sync_failed_passes", "Delivery passes that were stopped", totals.failed_passes),
        counter("sync_delivered_events", "Events that head office accepted", totals.delivered),
        counter("sync_assumed_events", "Of these, those it already had", totals.assumed),
        counter("sync_refused_events", "Events that head office rejected", totals.refused),
    ]


@Operation(
    SyncReport,
    ("409",),
    query={"pace": "full: without the pauses that give tills priority"},
    success=HTTPStatus.ACCEPTED,
)
async def try_now(request: web.Request) -> web.Response:
    """Start a pass now, ignoring backoff and quiet hours; `?pace=full` also skips throttling."""
    context = request.app[CONTEXT]
    if context.delivery is None:
        message = "central.url is not set: captures are stored here and not delivered."
        raise HttpError(HTTPStatus.CONFLICT, message, ErrorCode.NOT_CONFIGURED)
    before = sync_report(context)
    with contextlib.suppress(OutboxUnavailable):
        await context.dead_letters.retry_deferred()
    context.delivery.try_now(at_full_speed=request.query.get("pace") == "full")
    return json_response(before, HTTPStatus.ACCEPTED)


def _seconds_until(at: float | None) -> float | None:
    if at is None:
        return None
    return round(max(0.0, at - asyncio.get_running_loop().time()), 1)


def _wall_time(context: Context, at: float | None) -> str | None:
    """Convert a time of the event loop's clock to RFC 3339, by the present wall clock."""
    if at is None:
        return None
    ago_seconds = asyncio.get_running_loop().time() - at
    return timestamp(context.now().wall_us - round(ago_seconds * 1e6))
