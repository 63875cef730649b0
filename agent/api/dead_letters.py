"""Dead-letter endpoints: list, show, retry and discard events that head office rejected."""

from http import HTTPStatus
from typing import TypedDict

from aiohttp import web

from agent.api.context import CONTEXT
from agent.api.responses import CorrelationId, Count, Epoch, Operation, Sequence, Time, timestamp
from agent.facts import Receipt
from agent.store.outbox.dead_letter_queue import DeadLetter, DeadLetters
from sync.protocol.wire import ErrorCode, EventType
from sync.runtime.http_errors import HttpError, bad_request
from sync.runtime.http_server import json_response

PAGE_SIZE = 1_000
_ERRORS = ("404", "503", "507")


class DeadLetterReport(TypedDict):
    """A dead letter; never contains the e-mail address."""

    epoch: Epoch
    sequence: Sequence
    type: EventType
    correlationId: CorrelationId
    errorCode: str
    errorMessage: str
    httpStatus: Count | None
    refusedAt: Time
    attempts: Count


@Operation(list[DeadLetterReport], ("503",), {"after": "EPOCH/SEQUENCE: start after this one"})
async def list_dead_letters(request: web.Request) -> web.Response:
    """Return one page in ascending order, starting after `?after=EPOCH/SEQUENCE` if given."""
    after = request.query.get("after")
    start = None if after is None else _receipt(after)
    letters = await _dead_letters(request).page(PAGE_SIZE, start)
    return json_response([_report(letter) for letter in letters])


@Operation(DeadLetterReport, _ERRORS)
async def show_dead_letter(request: web.Request) -> web.Response:
    """Return one dead letter."""
    return json_response(_report(await _find(request)))


@Operation(DeadLetterReport, _ERRORS)
async def retry_dead_letter(request: web.Request) -> web.Response:
    """Queue one for delivery, with the e-mail answers rejected for its sake; start a pass now."""
    letter = await _find(request)
    receipt = letter.receipt
    if not await _dead_letters(request).retry(receipt.epoch, receipt.sequence):
        raise _not_found()
    if (delivery := request.app[CONTEXT].delivery) is not None:
        delivery.try_now()
    return json_response(_report(letter))


@Operation(DeadLetterReport, _ERRORS)
async def discard_dead_letter(request: web.Request) -> web.Response:
    """Discard one permanently and erase its e-mail address."""
    letter = await _find(request)
    receipt = letter.receipt
    if not await _dead_letters(request).discard(receipt.epoch, receipt.sequence):
        raise _not_found()
    return json_response(_report(letter))


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
    message = "No such dead letter: it was delivered, discarded, or never rejected."
    return HttpError(HTTPStatus.NOT_FOUND, message, ErrorCode.NOT_FOUND)


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
    }
