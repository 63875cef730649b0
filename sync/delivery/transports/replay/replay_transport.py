"""The protocol `replay`: the tills' own requests to any backend with the loyalty API.

The events of a session form a lane: a lane is sequential, lanes run concurrently. A failure
stops only its lane, until several in a row show that central is down. Later events of a stopped
lane wait, in this window and the following ones, for a verdict on the event that stopped it.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import assert_never

from sync.delivery.outbox import BatchLimits, EventResult, OutboxEvent, Window
from sync.delivery.outcomes import Blocked, Delivered, FailureCause, Refused, RetryLater, Verdict
from sync.delivery.push import WindowCancelled, WindowResult
from sync.delivery.transports.central_client import CentralClient
from sync.delivery.transports.http_client import HttpResponse
from sync.delivery.transports.replay.loyalty_api import (
    SMALL_BYTES,
    Request,
    every_request_refused,
    interpret,
    json_object,
    request_of,
    request_without_effect,
)
from sync.delivery.transports.replay.session_lanes import StoppedLanes
from sync.delivery.transports.replay.terms_observer import OnTerms, TermsObserver
from sync.delivery.transports.short_retries import ShortRetries
from sync.protocol.wire import ErrorCode, EventType

# Consecutive failures without a verdict between them after which central counts as down.
MOST_TROUBLES_IN_A_ROW = 3
_HEADERS = {"Content-Type": "application/json"}
_SESSION_REFUSED = Refused(
    ErrorCode.SESSION_REFUSED, "the session that this answer belongs to was refused", None
)
_ADDRESS_ERASED = Refused(
    "ADDRESS_ERASED", "the address was erased after its delivery and cannot be sent again", None
)
_OVERTAKEN = Refused(
    "OVERTAKEN", "a later answer of the customer was delivered, and this one would undo it", None
)


class ReplayTransport:
    """Sends windows to the loyalty API, `max_in_flight` requests at a time."""

    def __init__(
        self,
        caller: CentralClient,
        attempts: ShortRetries,
        limits: BatchLimits,
        *,
        max_in_flight: int,
        on_terms: OnTerms,
    ) -> None:
        """Call `on_terms` when the program terms in central's responses change."""
        self._caller = caller
        self._attempts = attempts
        self._limits = limits
        self._max_in_flight = max_in_flight
        self._terms = TermsObserver(on_terms)
        self._stopped = StoppedLanes()
        self._troubles_in_a_row = 0

    @property
    def limits(self) -> BatchLimits:
        """Size limits of a window."""
        return self._limits

    @property
    def leaves_doubt(self) -> bool:
        """True: central may answer a repeat with an error."""
        return True

    async def deliver(self, window: Window, *, probing: bool) -> WindowResult:
        """Send `window`: each session's events in order, sessions in parallel."""
        self._stopped.start_window(window.events)
        run = _Run(_lanes(window.events), once=probing)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self._max_in_flight, len(run.lanes))):
                    group.create_task(self._work(run))
        except asyncio.CancelledError:
            raise WindowCancelled(run.delivery(window.events)) from None
        if run.judged and run.stop is None:
            self._stopped.mark_sick_beside(window.events)
        if run.stop is not None:
            self._troubles_in_a_row = 0
            if _may_be_the_records(run.stop):
                self._stopped.skip_next_pass()
        return run.delivery(window.events)

    async def _work(self, run: "_Run") -> None:
        while run.lanes and run.stop is None:
            await self._carry(run, run.lanes.popleft())

    async def _carry(self, run: "_Run", lane: list[OutboxEvent]) -> None:
        """Send the events of one session, up to the first without a verdict."""
        for event in lane:
            if run.stop is not None:
                return
            outcome = self._stopped.blocked_by(event) or await self._judge(run, event)
            match outcome:
                case Blocked():
                    run.stop = outcome
                    return
                case RetryLater():
                    run.left = outcome
                    return
                case Delivered() | Refused():
                    run.judged[event.position] = outcome
                case _:
                    assert_never(outcome)

    async def _judge(self, run: "_Run", event: OutboxEvent) -> Verdict | Blocked | RetryLater:
        unsendable = run.unsendable(event)
        if unsendable is not None:
            self._stopped.release(event)
            return unsendable
        outcome = await self._send(run, event)
        match outcome:
            case Delivered() | Refused():
                self._troubles_in_a_row = 0
                self._stopped.release(event)
            case RetryLater():
                self._count(run, event, outcome)
                self._stopped.stop(event, outcome)
            case Blocked():
                pass
            case _:
                assert_never(outcome)
        return outcome

    def _count(self, run: "_Run", event: OutboxEvent, cause: RetryLater) -> None:
        if not cause.may_have_arrived and not run.judged:
            # The request was never sent, and the next one would not be either.
            run.stop = run.stop or cause
            return
        if self._stopped.is_sick(event):
            return
        self._troubles_in_a_row += 1
        if self._troubles_in_a_row >= MOST_TROUBLES_IN_A_ROW:
            run.stop = run.stop or cause

    async def _send(self, run: "_Run", event: OutboxEvent) -> Verdict | Blocked | RetryLater:
        request = request_of(event)

        async def ask() -> Verdict | Blocked | RetryLater:
            try:
                outcome = await self._ask(event, request, in_doubt=run.is_in_doubt(event))
            except asyncio.CancelledError:
                run.opened.add(event.position)
                raise
            if isinstance(outcome, RetryLater) and outcome.may_have_arrived:
                run.opened.add(event.position)
            return outcome

        return await (ask() if run.once else self._attempts.run(ask))

    async def _ask(
        self, event: OutboxEvent, request: Request, *, in_doubt: bool
    ) -> Verdict | Blocked | RetryLater:
        answer = await self._caller.request(
            request.method, request.path, body=request.body, headers=_HEADERS
        )
        if not isinstance(answer, HttpResponse):
            return answer
        if answer.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE and await self._refuses_all(
            request
        ):
            return every_request_refused(len(request.body))
        document = json_object(answer.body)
        outcome = interpret(event, answer, document, in_doubt=in_doubt)
        is_own = outcome == Delivered() and event.type is EventType.SESSION_STARTED
        if is_own and document is not None:
            self._terms.observe(event, document)
        return outcome

    async def _refuses_all(self, request: Request) -> bool:
        """Return whether a request without effect gets a 413 too: then no event is at fault."""
        if len(request.body) > SMALL_BYTES:
            return False
        other = request_without_effect(len(request.body))
        answer = await self._caller.request(
            other.method, other.path, body=other.body, headers=_HEADERS
        )
        return (
            isinstance(answer, HttpResponse)
            and answer.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        )


@dataclass(slots=True)
class _Run:
    """State of a window in flight. `opened`: positions sent at least once without an outcome."""

    lanes: deque[list[OutboxEvent]]
    once: bool
    judged: dict[int, Verdict] = field(default_factory=dict)
    opened: set[int] = field(default_factory=set)
    left: RetryLater | None = None
    stop: Blocked | RetryLater | None = None

    def unsendable(self, event: OutboxEvent) -> Refused | None:
        """Return the local refusal of an event that cannot be sent; None for all others."""
        if event.type is EventType.SESSION_STARTED:
            return None
        if event.session_refused or isinstance(self.judged.get(event.session), Refused):
            return _SESSION_REFUSED
        if event.is_overtaken:
            return _OVERTAKEN
        return _ADDRESS_ERASED if event.is_erased else None

    def is_in_doubt(self, event: OutboxEvent) -> bool:
        """Return whether an earlier attempt may have delivered the event."""
        return event.is_doubtful or event.position in self.opened

    def delivery(self, events: Sequence[OutboxEvent]) -> WindowResult:
        """Return the result for `events`."""
        judged = [
            EventResult(e, self.judged[e.position]) for e in events if e.position in self.judged
        ]
        doubtful = [
            e
            for e in events
            if self.is_in_doubt(e) and not _ends_doubt(self.judged.get(e.position))
        ]
        return WindowResult(judged, doubtful, self.left, self.stop)


def _ends_doubt(verdict: Verdict | None) -> bool:
    """Return whether `verdict` settles that an earlier attempt was or was not delivered.

    A local refusal and a 413, possibly from a proxy, do not: central did not read the event.
    """
    if isinstance(verdict, Refused):
        return verdict.http_status not in {None, HTTPStatus.REQUEST_ENTITY_TOO_LARGE}
    return verdict is not None


def _may_be_the_records(stop: Blocked | RetryLater) -> bool:
    """Return whether central was reachable, so that the sent events may be the cause."""
    return (
        isinstance(stop, RetryLater)
        and stop.may_have_arrived
        and stop.cause is not FailureCause.OVERLOADED
    )


def _lanes(events: Sequence[OutboxEvent]) -> deque[list[OutboxEvent]]:
    lanes: dict[int, list[OutboxEvent]] = {}
    for event in events:
        lanes.setdefault(event.session, []).append(event)
    return deque(lanes.values())
