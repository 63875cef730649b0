"""Delivery state for status and metrics, and `POST /agent/v1/sync`, which starts a pass."""

import asyncio
from http import HTTPStatus
from typing import TypedDict

import msgspec
from aiohttp import web

from agent.api.context import CONTEXT, Context
from sync.delivery.delivery_loop import DeliveryLoop
from sync.delivery.delivery_status import LoopState
from sync.protocol.rfc3339 import us_to_rfc3339
from sync.protocol.wire import ErrorCode
from sync.runtime.http_errors import HttpError

CAPTURE_ONLY = "capture only"
STATES = (CAPTURE_ONLY, *(state.value for state in LoopState))


class SyncReport(TypedDict):
    """Delivery state; `trouble` to `nextTryInSeconds` describe the failure, if any."""

    state: str
    trouble: str | None
    detail: str | None
    httpStatus: int | None
    failures: int
    nextTryInSeconds: float | None
    lastDeliveryAt: str | None
    passes: int
    delivered: int
    refused: int


def write_sync(context: Context) -> SyncReport:
    """Return the delivery state; totals count since the start of the agent."""
    if (delivery := context.delivery) is None:
        return _CAPTURE_ONLY
    status, totals = delivery.status, delivery.totals
    return {
        "state": status.state.value,
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


def sync_gauges(delivery: DeliveryLoop | None) -> list[tuple[str, str, float]]:
    """Return gauges (name without prefix, help, value); empty if central is not configured."""
    if delivery is None:
        return []
    status, totals = delivery.status, delivery.totals
    holding = status.state is LoopState.HOLDING
    return [
        ("sync_holding", "1 while central refuses this agent as a caller", float(holding)),
        ("sync_failures", "Passes in a row that central did not take", status.failures),
        ("sync_passes", "Passes since the start", totals.passes),
        ("sync_failed_passes", "Passes that did not come to their end", totals.failed_passes),
        ("sync_delivered_events", "Events that central took since the start", totals.delivered),
        ("sync_assumed_events", "Of these, those it said to have already", totals.assumed),
        ("sync_refused_events", "Events that central refused since the start", totals.refused),
    ]


async def try_now(request: web.Request) -> web.Response:
    """Start a pass now, ignoring backoff and quiet hours; `?pace=full` also skips throttling."""
    context = request.app[CONTEXT]
    if context.delivery is None:
        raise HttpError(
            HTTPStatus.CONFLICT,
            "central.url is not set: captures are kept here and sent nowhere",
            ErrorCode.NOT_CONFIGURED,
        )
    before = write_sync(context)
    context.delivery.try_now(at_full_speed=request.query.get("pace") == "full")
    return web.Response(
        status=HTTPStatus.ACCEPTED,
        body=msgspec.json.encode(before),
        headers={"Content-Type": "application/json"},
    )


def _seconds_until(at: float | None) -> float | None:
    if at is None:
        return None
    return round(max(0.0, at - asyncio.get_running_loop().time()), 1)


def _wall_time(context: Context, at: float | None) -> str | None:
    """Convert a time of the event loop's clock to RFC 3339, by the present wall clock."""
    if at is None:
        return None
    ago_seconds = asyncio.get_running_loop().time() - at
    return us_to_rfc3339(context.now().wall_us - round(ago_seconds * 1e6), "milliseconds")


_CAPTURE_ONLY: SyncReport = {
    "state": CAPTURE_ONLY,
    "trouble": None,
    "detail": None,
    "httpStatus": None,
    "failures": 0,
    "nextTryInSeconds": None,
    "lastDeliveryAt": None,
    "passes": 0,
    "delivered": 0,
    "refused": 0,
}
