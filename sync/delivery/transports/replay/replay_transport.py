"""The protocol `replay`: the tills' own requests to any backend with the loyalty API.

The events of a session form a lane: a lane is sequential, lanes run concurrently. A failure ends
only its lane. It is the event's own trouble if another event gets a verdict after it, or at least
a request without effect the answer that it must: the event is then deferred, and so are the later
ones of its session. If several in a row fail, or that request fails too, the window is stopped.
"""

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import TypeAlias, assert_never

from sync.delivery.outbox import BatchLimits, OutboxEvent, Window
from sync.delivery.outcomes import (
    Blocked,
    BlockedReason,
    Deferred,
    Delivered,
    Refused,
    RetryLater,
    Verdict,
)
from sync.delivery.transport import (
    Suspect,
    WindowCancelled,
    WindowResult,
    may_be_about_an_event,
)
from sync.delivery.transports.central_client import CentralClient
from sync.delivery.transports.http_client import HttpResponse
from sync.delivery.transports.replay.loyalty_api import (
    SMALL_BYTES,
    ApiRequest,
    Json,
    interpret,
    interpret_without_effect,
    json_object,
    request_of,
    request_without_effect,
)
from sync.delivery.transports.replay.window_run import WindowRun, lanes_of
from sync.delivery.transports.short_retries import ShortRetries
from sync.protocol.program_terms import SessionKind, SessionTerms, session_kind
from sync.protocol.terms_check import TermsFault, read_session_terms
from sync.protocol.wire import EventType

# Consecutive failures without a verdict between them after which central counts as down, until an
# event from elsewhere passes; the most before that is asked again.
MAX_FAILURES_IN_A_ROW, MOST_FAILURES_IN_A_ROW = 3, 256
# What passed within this time is evidence that central does not fail on all.
PASSED_JUST_NOW_SECONDS = 30.0
# Bounds the cache: tills choose the channel, and a faulty till could send endless new ones.
_MAX_KINDS = 64
_TOO_LARGE = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
_HEADERS = {"Content-Type": "application/json"}
OnTerms: TypeAlias = Callable[[SessionKind, SessionTerms | TermsFault], None]
_Outcome: TypeAlias = Verdict | Blocked | RetryLater


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
        # Positions of the events that failed since the last verdict, in whatever window.
        self._row: set[int] = set()
        self._allowance = MAX_FAILURES_IN_A_ROW
        self._passed_at = -math.inf
        self._is_row_over = self._others_passed = False

    async def send(self, window: Window, *, probing: bool) -> WindowResult:
        """Send `window`: each session's events in order, sessions in parallel."""
        run = WindowRun(window.events, lanes_of(window.events), once=probing)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self._max_in_flight, len(run.lanes))):
                    group.create_task(self._send_lanes(run))
            if run.suspects:
                await self._end_row(run)
        except asyncio.CancelledError:
            raise WindowCancelled(run.result()) from None
        if run.stop is None:
            run.pass_suspects_by(others_passed=self._others_passed)
        self._adapt_allowance(run)
        return run.result()

    async def _send_lanes(self, run: WindowRun) -> None:
        while run.lanes and run.stop is None:
            await self._send_lane(run, run.lanes.popleft())

    async def _send_lane(self, run: WindowRun, lane: list[OutboxEvent]) -> None:
        """Send the events of one session, up to the first without a verdict."""
        for event in lane:
            if run.stop is not None:
                return
            outcome = run.local_verdict(event) or await self._send_event(run, event)
            match outcome:
                case Delivered() | Refused() | Deferred():
                    run.verdicts[event.position] = outcome
                case RetryLater() | Blocked():
                    await self._on_failure(run, Suspect(event, outcome))
                    return
                case _:
                    assert_never(outcome)

    async def _on_failure(self, run: WindowRun, suspect: Suspect) -> None:
        """Note a failure; stop the window if it is that of all, or seems to be."""
        failure = suspect.failure
        if not _may_be_its_own(failure):
            run.stop = run.stop or failure
            return
        run.suspects[suspect.event.position] = suspect
        is_over = self._is_too_many(suspect, self._allowance)
        if isinstance(failure, Blocked) or (failure.retry_after_seconds and not is_over):
            # A hold of everything, or a long wait: to be known before more is sent.
            await self._check(run)
        if is_over and not await self._others_pass(run):
            run.stop = run.stop or failure

    async def _others_pass(self, run: WindowRun) -> bool:
        """Pass the suspects by if other events have just passed and central still answers."""
        if asyncio.get_running_loop().time() > self._passed_at + PASSED_JUST_NOW_SECONDS:
            return False
        await self._check(run)
        if run.stop is None:
            run.pass_suspects_by(others_passed=True)
            self._row.clear()
            self._allowance = min(2 * self._allowance, MOST_FAILURES_IN_A_ROW)
        return run.stop is None

    async def _end_row(self, run: WindowRun) -> None:
        """Judge the failures at the end of a window, after which no event passed.

        That a request without effect is answered is enough for one event; for several, only after
        events from elsewhere passed.
        """
        await self._check(run)
        suspects, most = list(run.suspects.values()), self._allowance // MAX_FAILURES_IN_A_ROW + 1
        is_over = any(self._is_too_many(one, most) for one in suspects)
        if is_over and run.stop is None and not await self._others_pass(run):
            run.stop = run.stop or suspects[0].failure

    def _is_too_many(self, suspect: Suspect, most: int) -> bool:
        """Add `suspect` to the row, and return whether the row has `most` events.

        One that was set apart before proves nothing against central.
        """
        if suspect.event.attempts:
            return False
        if len(self._row) < MOST_FAILURES_IN_A_ROW:
            self._row.add(suspect.event.position)
        return len(self._row) >= most

    async def _check(self, run: WindowRun) -> None:
        """Send a request without effect; stop the window if it fails, too."""
        if run.is_checked or run.stop is not None:
            return
        run.is_checked = True
        response = await self._client.request(*request_without_effect(0), _HEADERS)
        if isinstance(response, HttpResponse):
            failure = interpret_without_effect(response)
        else:
            failure = response
        run.is_central_up = failure is None
        if failure is not None and run.suspects and run.stop is None:
            run.stop = _common(failure, [suspect.failure for suspect in run.suspects.values()])

    def _adapt_allowance(self, run: WindowRun) -> None:
        """Allow more failures in a row each time another event passes after so many."""
        if self._is_row_over:
            most = min(2 * self._allowance, MOST_FAILURES_IN_A_ROW)
            self._allowance = most if run.has_passed else MAX_FAILURES_IN_A_ROW
        self._is_row_over = len(self._row) >= self._allowance
        self._others_passed &= run.stop is None

    async def _send_event(self, run: WindowRun, event: OutboxEvent) -> _Outcome:
        attempt = partial(self._attempt, run, event, request_of(event))
        # Where this one or others failed, a repeat at once would triple the load.
        is_once = run.once or self._row or event.attempts
        outcome = await (attempt() if is_once else self._retries.run(attempt))
        if isinstance(outcome, (Delivered, Refused)):
            self._row.clear()
            self._passed_at = asyncio.get_running_loop().time()
            run.has_passed = self._others_passed = True
            run.pass_suspects_by(others_passed=True)
        return outcome

    async def _attempt(self, run: WindowRun, event: OutboxEvent, request: ApiRequest) -> _Outcome:
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


def _may_be_its_own(failure: Blocked | RetryLater) -> bool:
    """Return whether a failure can be that of a single event.

    If its request was never sent, the next one would not be either.
    """
    has_arrived = isinstance(failure, RetryLater) and failure.may_have_arrived
    return has_arrived or may_be_about_an_event(failure)


def _common(
    harmless: Blocked | RetryLater, of_events: Sequence[Blocked | RetryLater]
) -> Blocked | RetryLater:
    """Return the failure of all, if a request without effect fails as `harmless`."""
    for failure in of_events:
        is_same_kind = isinstance(harmless, Blocked) and isinstance(failure, Blocked)
        if is_same_kind or failure == harmless:
            return failure
    return harmless
