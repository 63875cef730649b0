"""The two calls of the loyalty API, answered after the capture is durable."""

from typing import Literal, TypedDict, assert_never
from urllib.parse import unquote_to_bytes

from aiohttp import web

from agent.api.context import Context
from agent.api.reasons import time_of_day
from agent.api.request_body import read_body
from agent.api.responses import CaptureAnswer, Operation
from agent.capture.email_answer import parse_email_answer
from agent.capture.reasons import NO_SESSION, SESSION_CLOSED, used_id
from agent.capture.refusals import INVALID_CORRELATION_ID, NO_OPEN_SESSION, Refusal
from agent.capture.session_answer import SessionAnswer
from agent.capture.session_start import fault_in_path, is_correlation_id, parse_session_start
from agent.facts import Capture, IdTaken, NoOpenSession, Receipt, Recorded
from sync.protocol.program_terms import Locale

EMAIL_UPDATED = b'{"message":"Email option updated."}'
_ERRORS = ("408", "413", "415", "503", "507")
_SET_EMAIL_NOTES = {
    "400": "The body is invalid, or no open session has this id: it never started here, was purged,"
    " or was started as CLOSED",
    "404": "No such endpoint: a slash in the id is not percent-encoded."
    " An unknown session is a 400, as on the loyalty platform",
}


class EmailUpdated(TypedDict):
    """The answer to *set e-mail*."""

    message: Literal["Email option updated."]


class TillCalls:
    """Handlers of *start anonymous session* and *set e-mail* (`docs/till-api.md`)."""

    def __init__(self, context: Context) -> None:
        self._context = context

    @Operation(
        SessionAnswer,
        _ERRORS,
        {"400": "The body is invalid, or the id was used with other content"},
        {"locale": f"Overrides the body's. One of {', '.join(Locale)}; anything else is ignored"},
        body="SessionStart",
        links=("setEmail", "showSession"),
    )
    async def start_session(self, request: web.Request) -> CaptureAnswer:
        """Record a session start."""
        start = parse_session_start(await read_body(request), _query_locales(request))
        receipt = await self._record(start.started)
        answer = self._context.answers.answer(start.started.correlation_id, start.kind)
        return CaptureAnswer(answer, receipt)

    @Operation(EmailUpdated, (*_ERRORS, "404"), _SET_EMAIL_NOTES, body="EmailAnswer")
    async def set_email(self, request: web.Request) -> CaptureAnswer:
        """Record an e-mail answer.

        Errors in the body take precedence over a missing session.
        """
        body = await read_body(request)
        correlation_id = correlation_id_in(request.rel_url.raw_path, segment=3)
        answered = parse_email_answer(
            correlation_id, body, check_syntax=self._context.check_email_syntax
        )
        if not is_correlation_id(correlation_id):
            raise Refusal(NO_OPEN_SESSION, fault_in_path(correlation_id))
        return CaptureAnswer(EMAIL_UPDATED, await self._record(answered))

    async def _record(self, capture: Capture) -> Receipt:
        now = self._context.now()
        outcome = await self._context.writer.record(capture, now)
        match outcome:
            case Recorded():
                self._context.metrics.count_capture(capture, outcome)
                if self._context.delivery is not None:
                    self._context.delivery.notify_capture()
                return outcome.receipt
            case IdTaken(used_at_us, others):
                used_at = time_of_day(used_at_us, now.wall_us)
                raise Refusal(INVALID_CORRELATION_ID, used_id(used_at, others))
            case NoOpenSession(is_closed):
                raise Refusal(NO_OPEN_SESSION, SESSION_CLOSED if is_closed else NO_SESSION)
            case _:
                assert_never(outcome)


def correlation_id_in(raw_path: str, *, segment: int) -> str:
    """Return the percent-decoded id in a raw path, with non-UTF-8 bytes as surrogates.

    An id with surrogates never matches a session: `is_correlation_id` rejects it.
    """
    encoded = raw_path.split("/")[segment]
    return unquote_to_bytes(encoded).decode("utf-8", "surrogateescape")


def _query_locales(request: web.Request) -> list[str]:
    if not request.rel_url.raw_query_string:
        return []
    return request.query.getall("locale", [])
