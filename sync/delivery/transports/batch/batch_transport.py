"""The protocol `batch`: many events in one request to head office's receiver.

A response that refuses the whole request (413, 400, 422) does not name the event at fault, so
the batch is bisected down to a single event. That event becomes a dead letter only if head
office accepts the same request without the event's content. If not, head office does not
understand this agent at all, and delivery is blocked with the outbox kept. A 401, 403, 404 or 405
is bisected, too, if head office answers another request of this agent: a firewall looks into
bodies. An event that fails alone again and again is sent without its content, and deferred.
"""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import replace
from http import HTTPStatus

import msgspec

from sync.delivery.outbox import BatchLimits, EventResult, OutboxEvent, Window
from sync.delivery.outcomes import (
    Blocked,
    BlockedReason,
    Deferred,
    FailureCause,
    Refused,
    RetryLater,
)
from sync.delivery.transport import (
    SESSION_WAITS,
    Suspect,
    WindowResult,
    may_be_about_an_event,
    refused_by_gateway,
)
from sync.delivery.transports import responses
from sync.delivery.transports.batch.control_requests import fetch_terms
from sync.delivery.transports.batch.documents import Sender, compressed_batch
from sync.delivery.transports.batch.verdicts import Outcome, Verdicts, interpret, verdicts_on
from sync.delivery.transports.central_client import CentralClient
from sync.delivery.transports.http_client import HttpResponse
from sync.delivery.transports.short_retries import ShortRetries
from sync.protocol.wire import BATCHES_PATH, BatchAccepted, ErrorCode

_HEADERS = {"Content-Type": "application/json", "Content-Encoding": "zstd"}
_TOO_MANY = HTTPStatus.TOO_MANY_REQUESTS
# An event is sent so often without a verdict before only its number is.
MAX_TRIES_ALONE = 3
_MOST_COUNTED = 1_000


class BatchTransport:
    """Sends windows to a receiver."""

    is_idempotent = True  # head office recognises a repeat by its sequence numbers

    def __init__(
        self, client: CentralClient, sender: Sender, retries: ShortRetries, limits: BatchLimits
    ) -> None:
        """Limit each request to `limits`: events, and bytes of their bodies.

        After a 413 they are lower for a while: halved, then increased slowly.
        """
        self._client = client
        self._is_welcome: bool | None = None
        # By epoch and number: others that fail alone do not begin the count anew.
        self._failed_alone: Counter[tuple[str, int]] = Counter()
        # Verdicts on events answered 429: each holds if its number passes after the Retry-After.
        self._limited: dict[tuple[str, int], Refused | Deferred] = {}
        # The number of the last event that failed alone passed, and no event since.
        self._has_number_passed = False
        # Events passed since the last failure of a window, and not their numbers only.
        self._others_passed = False
        self._sender = sender
        self._retries = retries
        self.limits = self._max_limits = limits

    async def send(self, window: Window, *, probing: bool) -> WindowResult:
        """Send `window` to head office; bisect it where head office refuses it as a whole."""
        results: list[EventResult] = []
        limited = self._take_limited(window)
        parts = deque([window.events[:1], window.events[1:]] if limited else [window.events])
        self._is_welcome = None
        while parts and (part := parts.popleft()):
            outcome: Outcome | Deferred
            if limited:
                outcome, limited = limited, None
            else:
                answer = await self._post(window, part, once=probing)
                outcome = await self._judge(window, part, answer)
            if isinstance(outcome, (Refused, Deferred)) and len(part) > 1:
                middle = len(part) // 2
                parts.extendleft((part[middle:], part[:middle]))
                continue
            if isinstance(outcome, (Refused, Deferred)):
                some, stop = await self._without_content(window, part, outcome, once=probing)
            else:
                some, stop = verdicts_on(part, outcome)
            results += _waiting_behind(results, some)
            if stop is not None:
                self._others_passed &= not isinstance(stop, (Blocked, RetryLater))
                return WindowResult(results, stop=stop)
            if len(some) < len(part):
                parts.appendleft(part[len(some) :])
        return WindowResult(results)

    async def _judge(
        self, window: Window, part: Sequence[OutboxEvent], outcome: Outcome
    ) -> Outcome | Deferred:
        """Return `outcome`, or what it is if it is about the content of `part`."""
        if isinstance(outcome, (Blocked, RetryLater)) and await self._is_about_content(outcome):
            status = outcome.http_status
            verdict = refused_by_gateway(part[0], status, others_passed=self._others_passed)
            self._adapt_limits(len(part), verdict)
            return verdict
        if isinstance(outcome, RetryLater) and self._may_be_its_own(window, part, outcome):
            return Suspect(part[0], outcome).own_verdict(others_passed=self._others_passed)
        return outcome

    async def _without_content(
        self,
        window: Window,
        part: Sequence[OutboxEvent],
        verdict: Refused | Deferred,
        *,
        once: bool,
    ) -> Verdicts:
        """Send a single refused event again without its content, for its sequence number."""
        outcome = await self._post(window, part, once=once, withheld=True)
        if isinstance(outcome, Refused):
            detail = f"every request is refused: {outcome.error_code}: {outcome.error_message}"
            return (), Blocked(BlockedReason.UNKNOWN_PROTOCOL, detail, outcome.http_status)
        if isinstance(outcome, BatchAccepted):
            # Only the sequence number counts here: ignore rejections such as `ALTERED`.
            outcome = msgspec.structs.replace(outcome, rejected=[])
        known, stop = verdicts_on(part, outcome)
        self._has_number_passed = bool(known)
        if not known:
            # It fails on all: to ask again with each try would double the load.
            self._failed_alone.clear()
        return [EventResult(one.event, one.event.damage or verdict) for one in known], stop

    async def _is_about_content(self, failure: Blocked | RetryLater) -> bool:
        """Return whether other requests of this agent are answered: a firewall looks into bodies.

        Asked once for each window, by a request that has no effect.
        """
        if not may_be_about_an_event(failure):
            return False
        if self._is_welcome is None:
            self._is_welcome = not isinstance(
                await fetch_terms(self._client, None), (Blocked, RetryLater)
            )
        return self._is_welcome

    def _may_be_its_own(
        self, window: Window, part: Sequence[OutboxEvent], failure: RetryLater
    ) -> bool:
        """Return whether an event alone got no verdict several times, and was sent each time.

        Without its content its number passes, if not head office is at fault. Behind such an event,
        and when it is tried again, once is enough: thousands in a row would take days. After a 429,
        mostly head office's load, its number goes next time, when Retry-After is over. Several that
        are tried again are bisected.
        """
        if not failure.may_have_arrived:
            return False
        if len(part) > 1:
            return failure.http_status != _TOO_MANY and any(event.attempts for event in part)
        name = window.epoch, part[0].sequence
        if len(self._failed_alone) >= _MOST_COUNTED:
            self._failed_alone.clear()
            self._limited.clear()
        self._failed_alone[name] += 1
        tries, is_retried = self._failed_alone[name], part[0].attempts > 0
        if failure.http_status == _TOO_MANY:
            if is_retried or tries % MAX_TRIES_ALONE == 0:
                suspect = Suspect(part[0], failure)
                self._limited[name] = suspect.own_verdict(others_passed=self._others_passed)
            return False
        return is_retried or self._has_number_passed or tries >= MAX_TRIES_ALONE

    def _take_limited(self, window: Window) -> Refused | Deferred | None:
        """Return the verdict on the first event if its number is to be sent instead of it."""
        return self._limited.pop((window.epoch, window.events[0].sequence), None)

    async def _post(
        self, window: Window, part: Sequence[OutboxEvent], *, once: bool, withheld: bool = False
    ) -> Outcome:
        sent_us = self._sender.clock().monotonic_us
        body = await compressed_batch(window, part, self._sender, withheld=withheld)

        async def attempt() -> Outcome:
            reply = await self._client.request("POST", BATCHES_PATH, body=body, headers=_HEADERS)
            return interpret(reply, part) if isinstance(reply, HttpResponse) else reply

        # As with `replay`, what failed before is not repeated at once.
        once |= not withheld and any(event.attempts for event in part)
        outcome = await (attempt() if once else self._retries.run(attempt))
        if isinstance(outcome, BatchAccepted):
            self._has_number_passed = False
            self._others_passed |= not withheld and any(event.damage is None for event in part)
            self._sender.round_trip.note(sent_us, self._sender.clock().monotonic_us)
        self._adapt_limits(len(part), outcome)
        return outcome

    def _adapt_limits(self, sent: int, outcome: Outcome | Deferred) -> None:
        events = self.limits.events
        match outcome:
            case BatchAccepted() if sent >= events:
                events = min(self._max_limits.events, sent + max(1, sent // 16))
            # A timeout counts too: the network may be too slow for so many events; and a failure,
            # which may be that of one event. A single event is no evidence for others.
            case (
                responses.TOO_LARGE
                | Refused(ErrorCode.REFUSED_BY_GATEWAY)
                | Deferred(ErrorCode.REFUSED_BY_GATEWAY)
                | RetryLater(
                    FailureCause.NO_RESPONSE
                    | FailureCause.SERVER_ERROR
                    | FailureCause.UNEXPECTED_RESPONSE
                )
            ) if sent > 1:
                events = min(events, sent // 2)
        self.limits = replace(self.limits, events=events)


def _waiting_behind(
    before: Sequence[EventResult], some: Sequence[EventResult]
) -> list[EventResult]:
    """Return `some` results, deferred where only a deferred session is the reason to reject."""
    deferred = {one.event.session for one in before if isinstance(one.verdict, Deferred)}
    return [
        EventResult(one.event, SESSION_WAITS)
        if isinstance(one.verdict, Refused)
        and one.verdict.error_code == ErrorCode.SESSION_REFUSED
        and (one.event.is_waiting or one.event.session in deferred)
        else one
        for one in some
    ]
