"""Derives the verdicts on a batch's events from head office's response. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeAlias

from sync.delivery.outbox import EventResult, OutboxEvent
from sync.delivery.outcomes import (
    Blocked,
    BlockedReason,
    Delivered,
    FailureCause,
    Refused,
    Renumber,
    RetryLater,
    Rewind,
    Stop,
    Verdict,
)
from sync.delivery.transports.batch.documents import decode_response
from sync.delivery.transports.http_client import HttpResponse
from sync.delivery.transports.rejections import parse_problem, sanitise, sanitise_code
from sync.delivery.transports.responses import no_such_endpoint, not_central
from sync.protocol.wire import BatchAccepted, ErrorBody, ErrorCode, Rejection

_NO_ENDPOINT = {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED}
_REFUSED_WHOLE = {HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY}
_NO_PROGRESS = RetryLater(
    FailureCause.NO_PROGRESS, "head office took none of the events it was sent"
)
_UNKNOWN_ENCODING = "the receiver, or something on the way to it, does not know zstd"


@dataclass(frozen=True, slots=True)
class BatchRefused:
    """A request was refused as a whole; `verdict` applies if a single event is the cause."""

    verdict: Refused
    is_too_large: bool = False


_TOO_LARGE = BatchRefused(
    Refused(
        ErrorCode.PAYLOAD_TOO_LARGE,
        "too large for head office, or for something on the way to it",
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    ),
    is_too_large=True,
)
Outcome: TypeAlias = BatchAccepted | BatchRefused | Stop
Verdicts: TypeAlias = tuple[Sequence[EventResult], Stop | None]


def interpret(answer: HttpResponse, sent: Sequence[OutboxEvent]) -> Outcome:
    """Return the outcome of `answer`; any other shape is `UNEXPECTED_RESPONSE`."""
    status = answer.status
    if status == HTTPStatus.OK:
        return decode_response(answer, sent) or not_central(answer, "not a receiver's answer")
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return _TOO_LARGE
    if status in _NO_ENDPOINT:
        return no_such_endpoint(answer)
    if status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE:
        return Blocked(BlockedReason.UNKNOWN_PROTOCOL, _UNKNOWN_ENCODING, status)
    problem = parse_problem(answer)
    if problem is None:
        return not_central(answer, "not a receiver's error")
    return _said_by(problem, answer)


def verdicts_on(sent: Sequence[OutboxEvent], outcome: BatchAccepted | Stop) -> Verdicts:
    """Return the verdicts on a prefix of `sent`, and the reason to stop, if any."""
    if isinstance(outcome, BatchAccepted):
        return _judgements(sent, outcome), _stop(sent, outcome)
    return (), outcome


def every_request_refused(refused: BatchRefused) -> Blocked:
    """Return the `Blocked` for an agent whose every request is refused: no event is at fault."""
    verdict = refused.verdict
    detail = f"every request is refused: {verdict.error_code}: {verdict.error_message}"
    return Blocked(BlockedReason.UNKNOWN_PROTOCOL, detail, verdict.http_status)


def _judgements(sent: Sequence[OutboxEvent], accepted: BatchAccepted) -> list[EventResult]:
    """Return verdicts up to `acceptedThrough` or the first `ALTERED` event, if that is lower."""
    rejections = {rejection.sequence: rejection for rejection in accepted.rejected}
    results = []
    for event in sent:
        rejection = rejections.get(event.sequence)
        if event.sequence > accepted.accepted_through or _is_altered(rejection):
            break
        results.append(EventResult(event, _verdict(rejection)))
    return results


def _stop(sent: Sequence[OutboxEvent], accepted: BatchAccepted) -> Stop | None:
    altered = [one.sequence for one in accepted.rejected if _is_altered(one)]
    if altered:
        return Renumber(min(altered) - 1)
    if accepted.accepted_through < sent[0].sequence - 1:
        return Rewind(accepted.accepted_through + 1)
    return _NO_PROGRESS if accepted.accepted_through < sent[0].sequence else None


def _said_by(problem: ErrorBody, answer: HttpResponse) -> Outcome:
    expected = problem.expected_sequence
    if problem.error_code == ErrorCode.SEQUENCE_GAP and expected is not None and expected > 0:
        return Rewind(expected)
    if answer.status in _REFUSED_WHOLE:
        return BatchRefused(Refused(problem.error_code, problem.error_message, answer.status))
    return not_central(answer, "a receiver has no such error")


def _verdict(rejection: Rejection | None) -> Verdict:
    if rejection is None:
        return Delivered()
    return Refused(sanitise_code(rejection.error_code), sanitise(rejection.error_message), None)


def _is_altered(rejection: Rejection | None) -> bool:
    return rejection is not None and rejection.error_code == ErrorCode.ALTERED
