"""The protocol `replay`: the tills' own requests to any backend with the loyalty API.

The events of a session form a lane: a lane is sequential, lanes run concurrently. A failure
stops only its lane, until several in a row show that central is down. Later events of a stopped
lane wait, in this window and the following ones, for a verdict on the event that stopped it.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import TypeAlias, assert_never

from sync.delivery.outbox import BatchLimits, EventResult, OutboxEvent, Window
from sync.delivery.outcomes import (
    Blocked,
    BlockedReason,
    Delivered,
    FailureCause,
    Refused,
    RetryLater,
    Verdict,
)
from sync.delivery.transport import WindowCancelled, WindowResult
from sync.delivery.transports.central_client import CentralClient
from sync.delivery.transports.http_client import HttpResponse
from sync.delivery.transports.replay.loyalty_api import (
    SMALL_BYTES,
    ApiRequest,
    Json,
    interpret,
    json_object,
    request_of,
    request_without_effect,
)
from sync.delivery.transports.replay.session_lanes import StoppedLanes
from sync.delivery.transports.short_retries import ShortRetries
from sync.protocol.program_terms import SessionKind, SessionTerms, session_kind
from sync.protocol.terms_check import TermsFault, read_session_terms
from sync.protocol.wire import ErrorCode, EventType

# Consecutive failures without a verdict between them after which central counts as down.
MAX_FAILURES_IN_A_ROW = 3
# Bounds the cache: tills choose the channel, and a faulty till could send endless new ones.
_MAX_KINDS = 64
_TOO_LARGE = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
_HEADERS = {"Content-Type": "application/json"}
OnTerms: TypeAlias = Callable[[SessionKind, SessionTerms | TermsFault], None]
_Outcome: TypeAlias = Verdict | Blocked | RetryLater
_SESSION_REFUSED = Refused(
    ErrorCode.SESSION_REFUSED, "the session of this answer was refused", None
)
_ADDRESS_ERASED = Refused(
    "ADDRESS_ERASED", "the address was erased after its delivery, so it cannot be sent again", None
)
_OVERTAKEN = Refused(
    "OVERTAKEN", "a later answer was delivered, and this one would overwrite it", None
)


class ReplayTransport:
    """Sends windows to the loyalty API, `max_in_flight` requests at a time."""

    is_idempotent = False  # central may answer a repeat with an error

    def __init__(
        self,
        client: CentralClient,
        retries: ShortRetries,
        limits: BatchLimits,
        *,
        max_in_flight: int,
        on_terms: OnTerms,
    ) -> None:
        """Call `on_terms` when the program terms in central's responses change."""
        self._client = client
        self._retries = retries
        self.limits = limits
        self._max_in_flight = max_in_flight
        self._on_terms = on_terms
        self._last_terms: dict[SessionKind, tuple[Json, ...]] = {}
        self._stopped = StoppedLanes()
        self._failures_in_a_row = 0

    async def send(self, window: Window, *, probing: bool) -> WindowResult:
        """Send `window`: each session's events in order, sessions in parallel."""
        self._stopped.start_window(window.events)
        run = _Run(window.events, _lanes(window.events), once=probing)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self._max_in_flight, len(run.lanes))):
                    group.create_task(self._send_lanes(run))
        except asyncio.CancelledError:
            raise WindowCancelled(run.result()) from None
        if run.verdicts and run.stop is None:
            self._stopped.mark_sick_beside(window.events)
        if run.stop is not None:
            self._failures_in_a_row = 0
            match run.stop:
                case RetryLater(cause) if run.stop.may_have_arrived:
                    # Central was reachable: unless it is overloaded, the events may be the cause.
                    if cause is not FailureCause.OVERLOADED:
                        self._stopped.skips_next_pass = True
        return run.result()

    async def _send_lanes(self, run: "_Run") -> None:
        while run.lanes and run.stop is None:
            await self._send_lane(run, run.lanes.popleft())

    async def _send_lane(self, run: "_Run", lane: list[OutboxEvent]) -> None:
        """Send the events of one session, up to the first without a verdict."""
        for event in lane:
            if run.stop is not None:
                return
            if (blocking := self._stopped.blocked_by(event)) is not None:
                run.unfinished = blocking
                return
            outcome = run.local_refusal(event) or await self._send_event(run, event)
            match outcome:
                case Delivered() | Refused():
                    self._stopped.release(event)
                    run.verdicts[event.position] = outcome
                case RetryLater():
                    self._count_failure(run, event, outcome)
                    self._stopped.stop(event, outcome)
                    run.unfinished = outcome
                    return
                case Blocked():
                    run.stop = outcome
                    return
                case _:
                    assert_never(outcome)

    def _count_failure(self, run: "_Run", event: OutboxEvent, failure: RetryLater) -> None:
        """Stop the window if central seems to be down."""
        # If this request was never sent, the next one would not be either.
        is_down = not failure.may_have_arrived and not run.verdicts
        if not is_down and not self._stopped.is_sick(event):
            self._failures_in_a_row += 1
            is_down = self._failures_in_a_row >= MAX_FAILURES_IN_A_ROW
        if is_down:
            run.stop = run.stop or failure

    async def _send_event(self, run: "_Run", event: OutboxEvent) -> _Outcome:
        attempt = partial(self._attempt, run, event, request_of(event))
        outcome = await (attempt() if run.once else self._retries.run(attempt))
        if isinstance(outcome, (Delivered, Refused)):
            self._failures_in_a_row = 0
        return outcome

    async def _attempt(self, run: "_Run", event: OutboxEvent, request: ApiRequest) -> _Outcome:
        try:
            outcome = await self._request(event, request, in_doubt=run.is_in_doubt(event))
        except asyncio.CancelledError:
            run.unanswered.add(event.position)
            raise
        if isinstance(outcome, RetryLater) and outcome.may_have_arrived:
            run.unanswered.add(event.position)
        return outcome

    async def _request(
        self, event: OutboxEvent, request: ApiRequest, *, in_doubt: bool
    ) -> _Outcome:
        response = await self._client.request(*request, _HEADERS)
        if not isinstance(response, HttpResponse):
            return response
        if response.status == _TOO_LARGE and await self._refuses_all(request):
            detail = (
                f"every request is refused as too large, even one of {len(request.body)} bytes: a"
                " proxy before head office has too low a limit"
            )
            return Blocked(BlockedReason.UNKNOWN_PROTOCOL, detail, response.status)
        document = json_object(response.body)
        outcome = interpret(event, response, document, in_doubt=in_doubt)
        if document and outcome == Delivered() and event.type is EventType.SESSION_STARTED:
            self._observe_terms(event, document)
        return outcome

    def _observe_terms(self, session: OutboxEvent, answer: Mapping[str, Json]) -> None:
        """Report the terms in central's answer to `session`, or their fault, if they changed."""
        kind = session_kind(json_object(session.body) or {}, session.query_locale)
        # Compare the raw members: to convert them for each event would dominate its cost.
        members = tuple(map(answer.get, SessionTerms.__struct_encode_fields__))
        if self._last_terms.get(kind) == members:
            return
        match read_session_terms(answer):
            case TermsFault() as fault:
                # Not cached: its texts have no bounds.
                self._last_terms.pop(kind, None)
                self._on_terms(kind, fault)
            case SessionTerms() as terms:
                if len(self._last_terms) >= _MAX_KINDS:
                    self._last_terms.clear()
                self._last_terms[kind] = members
                self._on_terms(kind, terms)

    async def _refuses_all(self, request: ApiRequest) -> bool:
        """Return whether a request without effect gets a 413 too: then no event is at fault."""
        if len(request.body) > SMALL_BYTES:
            return False
        other = request_without_effect(len(request.body))
        response = await self._client.request(*other, _HEADERS)
        return isinstance(response, HttpResponse) and response.status == _TOO_LARGE


@dataclass(slots=True)
class _Run:
    """State of a window in flight. `unanswered`: positions with a request that got no outcome."""

    events: Sequence[OutboxEvent]
    lanes: deque[list[OutboxEvent]]
    once: bool
    verdicts: dict[int, Verdict] = field(default_factory=dict)
    unanswered: set[int] = field(default_factory=set)
    unfinished: RetryLater | None = None
    stop: Blocked | RetryLater | None = None

    def local_refusal(self, event: OutboxEvent) -> Refused | None:
        """Return why `event` must not be sent; None if it may."""
        if event.damage is not None:
            return event.damage
        if event.type is EventType.SESSION_STARTED:
            return None
        if event.session_refused or isinstance(self.verdicts.get(event.session), Refused):
            return _SESSION_REFUSED
        if event.is_overtaken:
            return _OVERTAKEN
        return _ADDRESS_ERASED if event.is_erased else None

    def is_in_doubt(self, event: OutboxEvent) -> bool:
        """Return whether an earlier attempt may have delivered the event."""
        return event.is_doubtful or event.position in self.unanswered

    def result(self) -> WindowResult:
        """Return the results known so far of the window's events."""
        verdicts = [(event, self.verdicts.get(event.position)) for event in self.events]
        return WindowResult(
            results=[EventResult(event, verdict) for event, verdict in verdicts if verdict],
            doubtful=[
                e for e, verdict in verdicts if self.is_in_doubt(e) and not _ends_doubt(verdict)
            ],
            unfinished=self.unfinished,
            stop=self.stop,
        )


def _ends_doubt(verdict: Verdict | None) -> bool:
    """Return whether `verdict` settles that an earlier attempt was or was not delivered.

    A local refusal and a 413, possibly from a proxy, do not: central did not read the event.
    """
    if isinstance(verdict, Refused):
        return verdict.http_status not in {None, _TOO_LARGE}
    return verdict is not None


def _lanes(events: Sequence[OutboxEvent]) -> deque[list[OutboxEvent]]:
    lanes: dict[int, list[OutboxEvent]] = {}
    for event in events:
        lanes.setdefault(event.session, []).append(event)
    return deque(lanes.values())
