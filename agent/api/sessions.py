"""Delivery state of a session and its e-mail answers: `GET /agent/v1/sessions/{id}`."""

import asyncio
import sqlite3
from http import HTTPStatus
from typing import TypedDict

from aiohttp import web

from agent.api.context import CONTEXT
from agent.api.responses import CorrelationId, Epoch, Operation, Sequence, Time, timestamp
from agent.api.till_calls import correlation_id_in
from agent.capture.session_start import fault_in_path, is_correlation_id
from agent.facts import DeliveryState, EmailStatus
from agent.store.files.storage_errors import StorageDownError
from agent.store.queries.capture_status import CaptureStatus
from sync.protocol.wire import ErrorCode
from sync.runtime.network.http_errors import HttpError
from sync.runtime.network.http_server import json_response

_UNKNOWN = "no session with this correlation id is known here: it never started, or was purged"


class CaptureState(TypedDict):
    """Delivery state of a capture."""

    epoch: Epoch
    sequence: Sequence
    capturedAt: Time
    state: DeliveryState
    deliveredAt: Time | None


class EmailAnswerState(CaptureState):
    """Delivery state of an e-mail answer."""

    status: EmailStatus


class SessionState(CaptureState):
    """Delivery state of a session; never contains an e-mail address."""

    correlationId: CorrelationId
    emailAnswers: list[EmailAnswerState]


@Operation(
    SessionState, ("404", "503"), {"404": "No session with this id: never started, or purged"}
)
async def show_session(request: web.Request) -> web.Response:
    """Return the delivery state of a session; 404 if it is unknown."""
    reader = request.app[CONTEXT].reader
    correlation_id = correlation_id_in(request.rel_url.raw_path, segment=4)
    if not is_correlation_id(correlation_id):
        raise _not_found(fault_in_path(correlation_id))
    try:
        captures = await asyncio.to_thread(reader.session, correlation_id)
    except (sqlite3.Error, OSError) as error:
        raise StorageDownError(f"the database cannot be read ({error})") from error
    if not captures:
        raise _not_found(_UNKNOWN)
    start, *answers = captures
    state: SessionState = {
        "correlationId": correlation_id,
        **_state(start),
        "emailAnswers": [
            {"status": answer.status, **_state(answer)} for answer in answers if answer.status
        ],
    }
    return json_response(state)


def _not_found(reason: str) -> HttpError:
    status = HTTPStatus.NOT_FOUND
    return HttpError(status, "No such session.", ErrorCode.NOT_FOUND, reason=reason)


def _state(capture: CaptureStatus) -> CaptureState:
    delivered_at_us = capture.delivered_at_us
    return {
        "epoch": capture.receipt.epoch,
        "sequence": capture.receipt.sequence,
        "capturedAt": timestamp(capture.captured_at_us),
        "state": capture.state,
        "deliveredAt": None if delivered_at_us is None else timestamp(delivered_at_us),
    }
