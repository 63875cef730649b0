"""Derives the verdicts on a batch's events from head office's response. Pure."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import TypeAlias

import msgspec

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
)
from sync.delivery.transports.http_client import HttpResponse
from sync.delivery.transports.responses import (
    NO_ENDPOINT,
    TOO_LARGE,
    decoded,
    error_body,
    outside_protocol,
    refusal,
    unexpected,
)
from sync.protocol.wire import BatchAccepted, ErrorCode

# `Refused`: the whole request. It is the verdict on an event only if that was alone in it.
Outcome: TypeAlias = BatchAccepted | Refused | Stop
Verdicts: TypeAlias = tuple[Sequence[EventResult], Stop | None]

_MAX_SEQUENCE = 2**63 - 1
_REFUSED_WHOLE = {HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY}
_DELIVERED = Delivered()
_batch_accepted = msgspec.json.Decoder(BatchAccepted)


def interpret(response: HttpResponse, sent: Sequence[OutboxEvent]) -> Outcome:
    """Return the outcome of `response`; any other shape is `UNEXPECTED_RESPONSE`."""
    status = response.status
    if status == HTTPStatus.OK:
        return _accepted(response, sent) or unexpected(response, "not a receiver's response")
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return TOO_LARGE
    if status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE:
        detail = "head office, or a proxy before it, does not accept zstd"
        return Blocked(BlockedReason.UNKNOWN_PROTOCOL, detail, status)
    # A missing endpoint is a fault of the settings; the error code in its body is ignored.
    error = None if status in NO_ENDPOINT else error_body(response)
    if error is not None:
        expected = error.expected_sequence
        if error.error_code == ErrorCode.SEQUENCE_GAP and expected is not None and expected > 0:
            return Rewind(expected)
        if status in _REFUSED_WHOLE:
            return refusal(error, status)
    return outside_protocol(response, "not a receiver's error")


def verdicts_on(sent: Sequence[OutboxEvent], outcome: BatchAccepted | Stop) -> Verdicts:
    """Return the verdicts on a prefix of `sent`, and the reason to stop, if any.

    There are verdicts up to `acceptedThrough` or the first `ALTERED` event, if that is lower.
    """
    if not isinstance(outcome, BatchAccepted):
        return (), outcome
    stop = _stop(sent, outcome)
    through = outcome.accepted_through
    if isinstance(stop, Renumber):
        through = min(through, stop.after_sequence)
    refused = {one.sequence: refusal(one, None) for one in outcome.rejected}
    verdicts = [
        EventResult(event, event.damage or refused.get(event.sequence) or _DELIVERED)
        for event in sent
        if event.sequence <= through
    ]
    return verdicts, stop


def _accepted(response: HttpResponse, sent: Sequence[OutboxEvent]) -> BatchAccepted | None:
    """Return the response decoded; None if it is malformed or inconsistent with `sent`."""
    accepted = decoded(_batch_accepted, response.body) if response.is_json else None
    if accepted is None:
        return None
    rejected = {rejection.sequence for rejection in accepted.rejected}
    is_consistent = (
        0 <= accepted.accepted_through <= _MAX_SEQUENCE
        and len(rejected) == len(accepted.rejected)
        and rejected <= {event.sequence for event in sent}
    )
    return accepted if is_consistent else None


def _stop(sent: Sequence[OutboxEvent], accepted: BatchAccepted) -> Stop | None:
    # Of a damaged event only the number is sent: that another event is known by it tells nothing.
    damaged = {event.sequence for event in sent if event.damage is not None}
    altered = [
        one.sequence
        for one in accepted.rejected
        if one.error_code == ErrorCode.ALTERED and one.sequence not in damaged
    ]
    if altered:
        return Renumber(min(altered) - 1)
    if accepted.accepted_through < sent[0].sequence - 1:
        return Rewind(accepted.accepted_through + 1)
    if accepted.accepted_through < sent[0].sequence:
        return RetryLater(FailureCause.NO_PROGRESS, "head office accepted none of the events")
    return None
