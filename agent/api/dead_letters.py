"""Dead-letter endpoints: list, show, retry and discard events that head office rejected.

Retry and discard need the admin token, if one is set, and log the caller.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Literal, TypedDict

from aiohttp import web

from agent.api.context import CONTEXT
from agent.api.responses import CorrelationId, Count, Epoch, Operation, Sequence, Time, timestamp
from agent.facts import Receipt
from agent.store.outbox.dead_letter_queue import DeadLetter, DeadLetters
from sync.protocol.wire import ErrorCode
from sync.runtime.logging import log_event
from sync.runtime.network.http_errors import HttpError, bad_request
from sync.runtime.network.http_server import json_response
from sync.runtime.network.socket_table import connecting_user
from sync.runtime.settings.types import is_loopback

_log = logging.getLogger(__name__)
PAGE_SIZE = 1_000
_ERRORS = ("404", "503", "507")
_NO_SUCH = "No such dead letter: it was delivered, discarded, or never rejected"
_NOTES = {"404": _NO_SUCH}


class DeadLetterReport(TypedDict):
    """A dead letter; never contains the e-mail address."""

    epoch: Epoch
    sequence: Sequence
    type: str
    correlationId: CorrelationId
    errorCode: str
    errorMessage: str
    httpStatus: Count | None
    refusedAt: Time
    attempts: Count
    state: Literal["refused", "stuck"]


@Operation(
    list[DeadLetterReport], ("503",), query={"after": "EPOCH/SEQUENCE: start after this one"}
)
async def list_dead_letters(request: web.Request) -> web.Response:
    """Return one page in ascending order, starting after `?after=EPOCH/SEQUENCE` if given."""
    after = request.query.get("after")
    start = None if after is None else _receipt(after)
    letters = await _dead_letters(request).page(PAGE_SIZE, start)
    return json_response([_report(letter) for letter in letters])


@Operation(DeadLetterReport, _ERRORS, _NOTES)
async def show_dead_letter(request: web.Request) -> web.Response:
    """Return one dead letter."""
    return json_response(_report(await _find(request)))


@Operation(DeadLetterReport, _ERRORS, _NOTES)
async def retry_dead_letter(request: web.Request) -> web.Response:
    """Queue one for delivery, and the e-mail answers rejected because of it; start a pass now."""
    letter = await _change(request, DeadLetters.retry, "dead_letter.requeued")
    if (delivery := request.app[CONTEXT].delivery) is not None:
        delivery.try_now()
    return json_response(_report(letter))


@Operation(DeadLetterReport, _ERRORS, _NOTES)
async def discard_dead_letter(request: web.Request) -> web.Response:
    """Discard one permanently and erase its e-mail address."""
    letter = await _change(request, DeadLetters.discard, "dead_letter.discarded")
    return json_response(_report(letter))


@Operation(DeadLetterReport, _ERRORS, _NOTES)
async def set_aside_stuck_event(request: web.Request) -> web.Response:
    """Make a stuck event a dead letter now; events that wait behind it are delivered."""
    await _change(request, DeadLetters.set_aside, "dead_letter.set_aside")
    return json_response(_report(await _find(request)))


async def _change(
    request: web.Request, change: Callable[[DeadLetters, str, int], Awaitable[bool]], event: str
) -> DeadLetter:
    """Make a change that only an admin may, and log it; return the dead letter as it was."""
    access = request.app[CONTEXT].access.require_admin(request)
    letter = await _find(request)
    receipt = letter.receipt
    if not await change(_dead_letters(request), receipt.epoch, receipt.sequence):
        raise _not_found()
    await _log_change(request, event, letter, access)
    return letter


async def _log_change(request: web.Request, event: str, letter: DeadLetter, access: str) -> None:
    """Log a change with the caller: address, local user if on loopback, and kind of token."""
    peer, local = _addresses(request)
    user = None
    if peer is not None and local is not None and is_loopback(peer[0]):
        user = await asyncio.to_thread(connecting_user, peer, local)
    log_event(
        _log,
        logging.WARNING,
        event,
        receipt=str(letter.receipt),
        type=letter.type,
        code=letter.error_code,
        peer=None if peer is None else peer[0],
        user=user,
        access=access,
    )


def _addresses(request: web.Request) -> tuple[tuple[str, int] | None, tuple[str, int] | None]:
    """Return the remote and the local address of the connection; None if it is closed."""
    transport = request.transport
    if transport is None:
        return None, None
    peer, local = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
    return peer and peer[:2], local and local[:2]


async def _find(request: web.Request) -> DeadLetter:
    receipt = _receipt("{epoch}/{sequence}".format_map(request.match_info))
    letter = await _dead_letters(request).find(receipt.epoch, receipt.sequence)
    if letter is None or letter.discarded_at_us is not None:
        raise _not_found()
    return letter


def _receipt(text: str) -> Receipt:
    receipt = Receipt.read(text)
    if receipt is None:
        raise bad_request("Dead letters are addressed as EPOCH/SEQUENCE.")
    return receipt


def _not_found() -> HttpError:
    message = f"{_NO_SUCH}."
    return HttpError(HTTPStatus.NOT_FOUND, message, ErrorCode.NOT_FOUND, reason=_NO_SUCH)


def _dead_letters(request: web.Request) -> DeadLetters:
    return request.app[CONTEXT].dead_letters


def _report(letter: DeadLetter) -> DeadLetterReport:
    return {
        "epoch": letter.receipt.epoch,
        "sequence": letter.receipt.sequence,
        "type": letter.type,
        "correlationId": letter.correlation_id,
        "errorCode": letter.error_code,
        "errorMessage": letter.error_message,
        "httpStatus": letter.http_status,
        "refusedAt": timestamp(letter.refused_at_us),
        "attempts": letter.attempts,
        "state": "refused" if letter.stuck_since_us is None else "stuck",
    }
