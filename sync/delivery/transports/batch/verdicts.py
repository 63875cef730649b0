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
from sync.delivery.transports.responses import (
    NO_ENDPOINT,
    TOO_LARGE,
    error_body,
    no_such_endpoint,
    sanitised_code,
    sanitised_message,
    unexpected,
)
from sync.protocol.wire import BatchAccepted, ErrorBody, ErrorCode, Rejection

_REFUSED_WHOLE = {HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY}
_NO_PROGRESS = RetryLater(FailureCause.NO_PROGRESS, "head office accepted none of the events")
_UNKNOWN_ENCODING = "head office, or a proxy before it, does not accept zstd"


@dataclass(frozen=True, slots=True)
class BatchRefused:
    """A request was refused as a whole; `verdict` applies if a single event is the cause."""

    verdict: Refused
    is_too_large: bool = False


Outcome: TypeAlias = BatchAccepted | BatchRefused | Stop
Verdicts: TypeAlias = tuple[Sequence[EventResult], Stop | None]


def interpret(response: HttpResponse, sent: Sequence[OutboxEvent]) -> Outcome:
    """Return the outcome of `response`; any other shape is `UNEXPECTED_RESPONSE`."""
    status = response.status
    if status == HTTPStatus.OK:
        return decode_response(response, sent) or unexpected(response, "not a receiver's response")
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return BatchRefused(TOO_LARGE, is_too_large=True)
    if status in NO_ENDPOINT:
        return no_such_endpoint(response)
    if status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE:
        return Blocked(BlockedReason.UNKNOWN_PROTOCOL, _UNKNOWN_ENCODING, status)
    error = error_body(response)
    if error is None:
        return unexpected(response, "not a receiver's error")
    return _outcome_of(error, response)


def verdicts_on(sent: Sequence[OutboxEvent], outcome: BatchAccepted | Stop) -> Verdicts:
    """Return the verdicts on a prefix of `sent`, and the reason to stop, if any."""
    if isinstance(outcome, BatchAccepted):
        return _results(sent, outcome), _stop(sent, outcome)
    return (), outcome


def every_request_refused(refused: BatchRefused) -> Blocked:
    """Return the `Blocked` for an agent whose every request is refused: no event is at fault."""
    verdict = refused.verdict
    detail = f"every request is refused: {verdict.error_code}: {verdict.error_message}"
    return Blocked(BlockedReason.UNKNOWN_PROTOCOL, detail, verdict.http_status)


def _results(sent: Sequence[OutboxEvent], accepted: BatchAccepted) -> list[EventResult]:
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


def _outcome_of(error: ErrorBody, response: HttpResponse) -> Outcome:
    expected = error.expected_sequence
    if error.error_code == ErrorCode.SEQUENCE_GAP and expected is not None and expected > 0:
        return Rewind(expected)
    if response.status in _REFUSED_WHOLE:
        return BatchRefused(Refused(error.error_code, error.error_message, response.status))
    return unexpected(response, "not a receiver's error")


def _verdict(rejection: Rejection | None) -> Verdict:
    if rejection is None:
        return Delivered()
    return Refused(
        sanitised_code(rejection.error_code), sanitised_message(rejection.error_message), None
    )


def _is_altered(rejection: Rejection | None) -> bool:
    return rejection is not None and rejection.error_code == ErrorCode.ALTERED
