"""The loyalty platform's own two calls, answered once the capture is on the disk."""

from typing import assert_never
from urllib.parse import unquote_to_bytes

from aiohttp import web

from agent.api.bodies import read_body
from agent.api.context import CONTEXT, Context
from agent.capture.email_answer import read_email_answer
from agent.capture.refusals import INVALID_CORRELATION_ID, NO_OPEN_SESSION, Refusal
from agent.capture.session_start import is_correlation_id, read_session_start
from agent.store.facts import Capture, IdTaken, NoOpenSession, Receipt, Recorded

EMAIL_UPDATED = b'{"message":"Email option updated."}'


async def start_session(request: web.Request) -> web.Response:
    """Take a session start (`reference/start-anonymous-session.txt`)."""
    context = request.app[CONTEXT]
    body = await read_body(request)
    start = read_session_start(body, _query_locales(request))
    receipt = await _record(context, start.started)
    answer = context.answers.answer(
        start.started.correlation_id, start.locale, anonymous=start.anonymous
    )
    return _success(answer, receipt)


async def set_email(request: web.Request) -> web.Response:
    """Take an e-mail answer (`reference/set-email.txt`): the body first, then the session."""
    context = request.app[CONTEXT]
    body = await read_body(request)
    correlation_id = correlation_id_in(request.rel_url.raw_path, segment=3)
    answered = read_email_answer(correlation_id, body, check_syntax=context.check_email_syntax)
    if not is_correlation_id(correlation_id):
        raise Refusal(NO_OPEN_SESSION)
    return _success(EMAIL_UPDATED, await _record(context, answered))


def correlation_id_in(raw_path: str, *, segment: int) -> str:
    """Return the id named in a raw path, percent-decoded; bytes that are no UTF-8 as surrogates.

    Such an id is nobody's: no session can be started under it.
    """
    encoded = raw_path.split("/")[segment]
    return unquote_to_bytes(encoded).decode("utf-8", "surrogateescape")


async def _record(context: Context, capture: Capture) -> Receipt:
    outcome = await context.writer.record(capture, context.now())
    match outcome:
        case Recorded():
            context.metrics.recorded(capture, outcome)
            return outcome.receipt
        case IdTaken():
            raise Refusal(INVALID_CORRELATION_ID)
        case NoOpenSession():
            raise Refusal(NO_OPEN_SESSION)
        case _:
            assert_never(outcome)


def _query_locales(request: web.Request) -> list[str]:
    if not request.rel_url.raw_query_string:
        return []
    return request.query.getall("locale", [])


def _success(body: bytes, receipt: Receipt) -> web.Response:
    return web.Response(
        body=body, headers={"Content-Type": "application/json", "Loyalty-Receipt": str(receipt)}
    )
