"""Dead-letter endpoints: list, show, retry and discard events that central rejected."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import TypedDict, TypeVar

import msgspec
from aiohttp import web

from agent.api.context import CONTEXT
from agent.facts import Receipt
from agent.store.files.storage_errors import StorageDownError
from agent.store.outbox.dead_letter_queue import DeadLetter, DeadLetters
from sync.delivery.outbox import OutboxUnavailable
from sync.protocol.rfc3339 import us_to_rfc3339
from sync.protocol.wire import ErrorCode
from sync.runtime.http_errors import HttpError

_T = TypeVar("_T")
MOST_SHOWN = 1_000


class DeadLetterReport(TypedDict):
    """A dead letter in `/agent/v1/dead-letters`; never contains the e-mail address."""

    epoch: str
    sequence: int
    type: str
    correlationId: str
    errorCode: str
    errorMessage: str
    httpStatus: int | None
    refusedAt: str
    attempts: int


async def list_letters(request: web.Request) -> web.Response:
    """Return one page in ascending order, starting after `?after=EPOCH/SEQUENCE` if given."""
    after = request.query.get("after")
    place = None if after is None else _receipt(after)
    letters = await _of(_letters(request).page(MOST_SHOWN, place))
    return _json([_report(letter) for letter in letters])


async def show_letter(request: web.Request) -> web.Response:
    """Return one dead letter."""
    return _json(_report(await _found(request)))


async def retry_letter(request: web.Request) -> web.Response:
    """Queue one for delivery, with the e-mail answers rejected for its sake; start a pass now."""
    letter = await _found(request)
    await _decide(letter, _letters(request).retry)
    if (delivery := request.app[CONTEXT].delivery) is not None:
        delivery.try_now()
    return _json(_report(letter))


async def discard_letter(request: web.Request) -> web.Response:
    """Discard one permanently and erase its e-mail address."""
    letter = await _found(request)
    await _decide(letter, _letters(request).discard)
    return _json(_report(letter))


async def _decide(letter: DeadLetter, decision: Callable[[str, int], Awaitable[bool]]) -> None:
    if not await _of(decision(letter.receipt.epoch, letter.receipt.sequence)):
        raise _not_there()


async def _found(request: web.Request) -> DeadLetter:
    receipt = _receipt("{epoch}/{sequence}".format_map(request.match_info))
    letter = await _of(_letters(request).find(receipt.epoch, receipt.sequence))
    if letter is None or letter.discarded_at_us is not None:
        raise _not_there()
    return letter


def _receipt(place: str) -> Receipt:
    receipt = Receipt.read(place)
    if receipt is None:
        raise HttpError(
            HTTPStatus.BAD_REQUEST,
            "A dead letter is named EPOCH/SEQUENCE",
            ErrorCode.INVALID_REQUEST,
        )
    return receipt


def _not_there() -> HttpError:
    return HttpError(
        HTTPStatus.NOT_FOUND,
        "No dead letter has this number: it was delivered or given up, or never refused",
        ErrorCode.NOT_FOUND,
    )


def _letters(request: web.Request) -> DeadLetters:
    return request.app[CONTEXT].dead_letters


async def _of(answer: Awaitable[_T]) -> _T:
    try:
        return await answer
    except OutboxUnavailable as unavailable:
        raise StorageDownError(str(unavailable)) from unavailable


def _report(letter: DeadLetter) -> DeadLetterReport:
    return {
        "epoch": letter.receipt.epoch,
        "sequence": letter.receipt.sequence,
        "type": letter.type.value,
        "correlationId": letter.correlation_id,
        "errorCode": letter.error_code,
        "errorMessage": letter.error_message,
        "httpStatus": letter.http_status,
        "refusedAt": us_to_rfc3339(letter.refused_at_us, "milliseconds"),
        "attempts": letter.attempts,
    }


def _json(content: object) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(content), headers={"Content-Type": "application/json"}
    )
