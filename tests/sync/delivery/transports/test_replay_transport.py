"""The protocol `replay`: results of a window at a backend with the loyalty API."""

import asyncio
from dataclasses import replace

import pytest

from sync.delivery.outcomes import (
    Blocked,
    BlockedReason,
    Deferred,
    Delivered,
    FailureCause,
    Refused,
    RetryLater,
)
from sync.delivery.transport import WindowCancelled
from sync.delivery.transports.auth import Headers, NoCredentials
from sync.delivery.transports.central_client import CentralClient
from sync.delivery.transports.replay.loyalty_api import SMALL_BYTES
from sync.delivery.transports.replay.replay_transport import ReplayTransport
from sync.protocol.program_terms import Locale, SessionKind, SessionTerms
from sync.protocol.wire import EventType
from tests.bench.peers.terms import SESSION_ANSWER
from tests.support.central import Answer, Fault, Request, ScriptedCentral, faults
from tests.support.transports import (
    RecordedSleeps,
    answer,
    client_to,
    replay_transport,
    session,
    sessions,
    verdicts,
    window,
)

ALREADY = faults.problem(400, "INVALID_REQUEST", "This card has Already been confirmed")


def script_fault_for(correlation_id: str, fault: Fault, central: ScriptedCentral) -> None:
    """Apply `fault` to every request that contains the id."""

    def default_fault(request: Request) -> Fault | None:
        named = correlation_id in request.path or correlation_id.encode() in request.body
        return fault if named else None

    central.default_fault = default_fault


class CountingCredentials(NoCredentials):
    """Counts the requests built."""

    def __init__(self) -> None:
        self.times = 0

    async def headers(self, *, refused: Headers | None = None) -> Headers | Blocked | RetryLater:
        self.times += 1
        return await super().headers(refused=refused)


async def test_bodies_are_sent_verbatim(central: ScriptedCentral, replay: ReplayTransport) -> None:
    session_event = replace(
        session(1, "a/b ü%"), body=b'{ "correlationId":"a/b \xc3\xbc%" , "extra":1e2}'
    )
    email = answer(2, session_event)
    result = await replay.send(window(session_event, email), probing=False)
    assert verdicts(result) == {1: Delivered(), 2: Delivered()}
    assert [request.body for request in central.requests] == [session_event.body, email.body]
    assert central.requests[1].path == "/client/users/a%2Fb%20%C3%BC%25/profile/email"


async def test_query_locale_is_sent(central: ScriptedCentral, replay: ReplayTransport) -> None:
    await replay.send(window(replace(session(1), query_locale="fr CA&x")), probing=False)
    assert central.requests[0].query == {"locale": "fr CA&x"}


async def test_sessions_run_in_parallel_each_in_order(
    central: ScriptedCentral, replay: ReplayTransport
) -> None:
    stalled = faults.Stalled()
    central.script(stalled)
    one, two = session(1), session(2)
    events = [one, two, answer(3, one, "deferred"), answer(4, two), answer(5, one)]
    delivering = asyncio.ensure_future(replay.send(window(*events), probing=False))
    await stalled.reached.wait()
    await central.wait_for_requests(3)
    stalled.release.set()
    result = await delivering
    assert set(verdicts(result).values()) == {Delivered()}
    of_one = [r for r in central.ledger.records if r.correlation_id == "session-1"]
    assert [record.body for record in of_one] == [events[0].body, events[2].body, events[4].body]


async def test_requests_in_flight_are_limited(
    central: ScriptedCentral, client: CentralClient
) -> None:
    stalled = [faults.Stalled() for _ in range(3)]
    central.script(*stalled)
    transport = replay_transport(client, max_in_flight=3)
    delivering = asyncio.ensure_future(transport.send(window(*sessions(1, 20)), probing=False))
    for one in stalled:
        await one.reached.wait()
    assert len(central.requests) == 3
    for one in stalled:
        one.release.set()
    assert len((await delivering).results) == 20


async def test_answer_to_a_refused_session_is_not_sent(
    central: ScriptedCentral, replay: ReplayTransport
) -> None:
    central.refuse("session-1", message="Invalid Correlation ID for x@y.com")
    one = session(1)
    result = await replay.send(window(one, answer(2, one)), probing=False)
    found = verdicts(result)
    assert found[1] == Refused("INVALID_REQUEST", "Invalid Correlation ID for (address)", 400)
    assert isinstance(found[2], Refused)
    assert (found[2].error_code, found[2].http_status) == ("SESSION_REFUSED", None)
    assert len(central.requests) == 1


async def test_answer_to_a_dead_letter_session_is_not_sent(
    central: ScriptedCentral, replay: ReplayTransport
) -> None:
    email = replace(answer(2, session(1)), session_refused=True)
    found = verdicts(await replay.send(window(email), probing=False))[2]
    assert isinstance(found, Refused)
    assert (found.error_code, len(central.requests)) == ("SESSION_REFUSED", 0)


async def test_answers_follow_a_session_delivered_on_retry(
    central: ScriptedCentral, replay: ReplayTransport
) -> None:
    central.refuse("session-1")
    one = session(1)
    await replay.send(window(one), probing=False)
    central.accept_all()
    found = verdicts(await replay.send(window(one, answer(2, one)), probing=False))
    assert found == {1: Delivered(), 2: Delivered()}


async def test_overtaken_answer_is_not_sent(
    central: ScriptedCentral, replay: ReplayTransport
) -> None:
    email = replace(answer(2, session(1)), is_overtaken=True)
    found = verdicts(await replay.send(window(email), probing=False))[2]
    assert isinstance(found, Refused)
    assert (found.error_code, len(central.requests)) == ("OVERTAKEN", 0)


async def test_answer_with_erased_address_is_not_sent(
    central: ScriptedCentral, replay: ReplayTransport
) -> None:
    email = replace(answer(2, session(1)), is_erased=True)
    found = verdicts(await replay.send(window(email), probing=False))[2]
    assert isinstance(found, Refused)
    assert (found.error_code, len(central.requests)) == ("ADDRESS_ERASED", 0)


@pytest.mark.parametrize("status", [400, 404, 409, 422])
async def test_one_bad_event_is_refused_and_the_rest_is_delivered(
    central: ScriptedCentral, replay: ReplayTransport, status: int
) -> None:
    script_fault_for("session-500", faults.problem(status, "SOME_CODE", "some words"), central)
    result = await replay.send(window(*sessions(1, 1_000)), probing=False)
    found = verdicts(result)
    assert found.pop(500) == Refused("SOME_CODE", "some words", status)
    assert (len(found), set(found.values())) == (999, {Delivered()})
    assert result.stop is None


async def test_event_too_large_is_refused_by_central_or_a_proxy(
    central: ScriptedCentral, replay: ReplayTransport
) -> None:
    central.script(faults.html(413))
    found = verdicts(await replay.send(window(session(1)), probing=False))[1]
    assert isinstance(found, Refused)
    assert (found.error_code, found.http_status) == ("PAYLOAD_TOO_LARGE", 413)


async def test_proxy_that_refuses_every_size_blocks(
    central: ScriptedCentral, replay: ReplayTransport
) -> None:
    """A proxy with far too low a limit: no event is at fault."""
    central.default_fault = lambda _: faults.html(413)
    result = await replay.send(window(*sessions(1, 20)), probing=False)
    assert (result.results, result.doubtful) == ([], [])
    assert isinstance(result.stop, Blocked)
    assert (result.stop.reason, result.stop.http_status) == (BlockedReason.UNKNOWN_PROTOCOL, 413)


async def test_large_event_is_refused_without_a_check_request(
    central: ScriptedCentral, replay: ReplayTransport
) -> None:
    central.max_body_bytes = 500
    large = session(1, externalIdentifier="x" * SMALL_BYTES)
    found = verdicts(await replay.send(window(large, session(2)), probing=False))
    assert isinstance(found[1], Refused)
    assert found[2] == Delivered()


async def test_size_check_request_has_no_effect(
    central: ScriptedCentral, replay: ReplayTransport
) -> None:
    central.script(faults.html(413))
    await replay.send(window(session(1)), probing=False)
    assert len(central.requests) == 2
    assert central.ledger.records == []


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (faults.gateway(401), BlockedReason.UNAUTHORIZED),
        (faults.gateway(403), BlockedReason.FORBIDDEN),
        (faults.gateway(404), BlockedReason.NOT_FOUND),
        (faults.html(404), BlockedReason.NOT_FOUND),
        (faults.html(405), BlockedReason.NOT_FOUND),
    ],
)
async def test_refused_caller_blocks(
    central: ScriptedCentral, client: CentralClient, fault: Fault, reason: BlockedReason
) -> None:
    central.default_fault = lambda _: fault
    transport = replay_transport(client, max_in_flight=2)
    result = await transport.send(window(*sessions(1, 50)), probing=False)
    assert result.results == []
    assert isinstance(result.stop, Blocked)
    assert result.stop.reason is reason
    # Some events, and a request without effect that fares the same.
    assert len(central.requests) <= 4


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (faults.captive_portal, FailureCause.UNEXPECTED_RESPONSE),
        (faults.redirected, FailureCause.UNEXPECTED_RESPONSE),
        (faults.html(400), FailureCause.UNEXPECTED_RESPONSE),
        (faults.gateway(400), FailureCause.UNEXPECTED_RESPONSE),
        (faults.gateway(422), FailureCause.UNEXPECTED_RESPONSE),
        (faults.html(409), FailureCause.UNEXPECTED_RESPONSE),
        (
            faults.respond_with(Answer.of(200, {"message": "Hello"})),
            FailureCause.UNEXPECTED_RESPONSE,
        ),
        (
            faults.respond_with(Answer.of(200, {"sessionCorrelationId": "other"})),
            FailureCause.UNEXPECTED_RESPONSE,
        ),
        (
            faults.respond_with(Answer.of(202, {"sessionCorrelationId": "session-1"})),
            FailureCause.UNEXPECTED_RESPONSE,
        ),
        (faults.respond_with(Answer(204)), FailureCause.UNEXPECTED_RESPONSE),
        (faults.cut_short, FailureCause.NO_RESPONSE),
        (faults.answer_lost, FailureCause.NO_RESPONSE),
        (faults.reset_before, FailureCause.NO_RESPONSE),
        (faults.gateway(504), FailureCause.SERVER_ERROR),
        (faults.gateway(429), FailureCause.OVERLOADED),
    ],
)
async def test_unexpected_response_settles_nothing_and_leaves_doubt(
    central: ScriptedCentral, replay: ReplayTransport, fault: Fault, cause: FailureCause
) -> None:
    central.default_fault = lambda _: fault
    one = session(1)
    result = await replay.send(window(one, answer(2, one)), probing=False)
    assert (result.results, result.doubtful) == ([], [one])
    assert isinstance(result.stop, RetryLater)
    assert result.stop.cause is cause


@pytest.mark.parametrize("message", [None, "Please log in to go on-line"])
async def test_email_response_with_another_message_settles_nothing(
    central: ScriptedCentral, replay: ReplayTransport, message: str | None
) -> None:
    one = session(1)
    await replay.send(window(one), probing=False)
    central.default_fault = lambda _: faults.respond_with(Answer.of(200, {"message": message}))
    result = await replay.send(window(answer(2, one)), probing=False)
    assert (result.results, len(result.doubtful)) == ([], 1)


async def test_session_response_may_be_201(
    central: ScriptedCentral, replay: ReplayTransport
) -> None:
    central.script(faults.respond_with(Answer.of(201, {"sessionCorrelationId": "session-1"})))
    assert verdicts(await replay.send(window(session(1)), probing=False)) == {1: Delivered()}


async def test_refused_connection_leaves_no_doubt(
    central: ScriptedCentral, replay: ReplayTransport
) -> None:
    await central.stop()
    result = await replay.send(window(session(1)), probing=False)
    assert (result.results, result.doubtful) == ([], [])
    assert isinstance(result.stop, RetryLater)
    assert result.stop.cause is FailureCause.CENTRAL_DOWN


class TestAlready:
    """Meaning of "already" with and without an earlier attempt in doubt."""

    async def test_already_after_a_lost_response_is_assumed_delivered(
        self, central: ScriptedCentral, replay: ReplayTransport
    ) -> None:
        central.conflicts = True
        central.script(faults.answer_lost)
        found = verdicts(await replay.send(window(session(1)), probing=False))
        assert found == {1: Delivered(assumed=True)}

    async def test_already_after_an_attempt_in_doubt_is_assumed_delivered(
        self, central: ScriptedCentral, replay: ReplayTransport
    ) -> None:
        central.script(ALREADY)
        doubtful = replace(session(1), is_doubtful=True)
        found = verdicts(await replay.send(window(doubtful), probing=False))
        assert found == {1: Delivered(assumed=True)}

    async def test_already_without_doubt_is_a_refusal(
        self, central: ScriptedCentral, replay: ReplayTransport
    ) -> None:
        central.script(ALREADY)
        found = verdicts(await replay.send(window(session(1)), probing=False))
        assert isinstance(found[1], Refused)

    async def test_already_refused_before_the_doubt_stays_a_refusal(
        self, central: ScriptedCentral, replay: ReplayTransport
    ) -> None:
        """Another record has this id; ids in the message do not matter."""
        before = Refused("CONFLICT", "already known (request 17)", 409)
        central.script(
            faults.answer_lost, faults.problem(409, "CONFLICT", "already known (request 18)")
        )
        again = replace(session(1), refusal=before)
        found = verdicts(await replay.send(window(again), probing=False))
        assert found == {1: Refused("CONFLICT", "already known (request 18)", 409)}

    @pytest.mark.parametrize(
        "before",
        [
            Refused("INVALID_REQUEST", "unknown channel", 400),
            Refused("CONFLICT", "a card of this number exists", 409),
        ],
    )
    async def test_already_after_another_refusal_is_assumed_delivered(
        self, central: ScriptedCentral, replay: ReplayTransport, before: Refused
    ) -> None:
        central.script(ALREADY)
        again = replace(session(1), is_doubtful=True, refusal=before)
        found = verdicts(await replay.send(window(again), probing=False))
        assert found == {1: Delivered(assumed=True)}

    async def test_other_refusal_in_doubt_stays_a_refusal(
        self, central: ScriptedCentral, replay: ReplayTransport
    ) -> None:
        central.refuse("session-1")
        doubtful = replace(session(1), is_doubtful=True)
        found = verdicts(await replay.send(window(doubtful), probing=False))
        assert isinstance(found[1], Refused)

    async def test_doubt_ends_with_centrals_verdict(
        self, central: ScriptedCentral, replay: ReplayTransport
    ) -> None:
        central.refuse("session-1")
        doubtful = replace(session(1), is_doubtful=True)
        result = await replay.send(window(doubtful), probing=False)
        assert (len(result.results), result.doubtful) == (1, [])

    async def test_doubt_survives_a_refusal_by_a_proxy(
        self, central: ScriptedCentral, replay: ReplayTransport
    ) -> None:
        central.script(faults.answer_lost, faults.html(413))
        result = await replay.send(window(one := session(1)), probing=False)
        assert isinstance(verdicts(result)[1], Refused)
        assert result.doubtful == [one]

    async def test_doubt_of_an_answer_survives_the_refusal_of_its_session(
        self, replay: ReplayTransport
    ) -> None:
        one = replace(answer(2, session(1)), is_doubtful=True, session_refused=True)
        result = await replay.send(window(one), probing=False)
        assert isinstance(verdicts(result)[2], Refused)
        assert result.doubtful == [one]

    async def test_doubt_survives_an_attempt_that_was_not_sent(
        self, central: ScriptedCentral, replay: ReplayTransport
    ) -> None:
        await central.stop()
        doubtful = replace(session(1), is_doubtful=True)
        result = await replay.send(window(doubtful), probing=False)
        assert result.doubtful == [doubtful]


class TestTroubleInALane:
    """An event without a verdict is deferred if others pass; several in a row stop the pass."""

    async def test_failure_defers_its_event_and_leaves_its_lane(
        self, central: ScriptedCentral, replay: ReplayTransport
    ) -> None:
        one, two = session(1), session(2)
        events = [one, two, answer(3, one), answer(4, two)]
        script_fault_for("session-1", faults.html(500), central)
        result = await replay.send(window(*events), probing=False)
        assert sorted(verdicts(result)) == [1, 2, 4]
        deferred = verdicts(result)[1]
        assert isinstance(deferred, Deferred)
        assert (deferred.error_code, deferred.http_status) == ("NO_VERDICT", 500)
        assert (result.stop, result.doubtful) == (None, [one])

    async def test_answer_behind_a_deferred_event_is_deferred_unsent(
        self, central: ScriptedCentral, replay: ReplayTransport
    ) -> None:
        waiting = replace(answer(3, session(1)), is_waiting=True)
        found = verdicts(await replay.send(window(waiting), probing=False))[3]
        assert isinstance(found, Deferred)
        assert (found.is_waiting, central.requests) == (True, [])

    async def test_long_retry_after_of_one_event_is_its_own(
        self, central: ScriptedCentral, replay: ReplayTransport
    ) -> None:
        script_fault_for("session-1", faults.overloaded("3000", 503), central)
        result = await replay.send(window(session(1)), probing=True)
        found = verdicts(result)[1]
        assert isinstance(found, Deferred)
        assert (found.retry_after_seconds, result.stop) == (3_000, None)

    async def test_several_failures_at_the_end_of_a_window_are_suspects(
        self, central: ScriptedCentral, replay: ReplayTransport
    ) -> None:
        """That a request without effect is answered proves nothing for so many."""
        script_fault_for("session", faults.html(500), central)
        result = await replay.send(window(*sessions(1, 2)), probing=False)
        assert (result.results, len(result.suspects)) == ([], 2)
        assert isinstance(result.stop, RetryLater)

    async def test_more_failures_are_allowed_each_time_another_event_passes(
        self, central: ScriptedCentral, client: CentralClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = "sync.delivery.transports.replay.replay_transport.PASSED_JUST_NOW_SECONDS"
        monkeypatch.setattr(path, -1.0)
        transport = replay_transport(client, max_in_flight=1)
        script_fault_for("bad", faults.html(500), central)
        bad = [session(number, f"bad-{number}") for number in range(1, 50)]
        allowed = []
        for number in range(4):
            result = await transport.send(window(*bad), probing=False)
            allowed.append(len(result.suspects))
            await transport.send(window(session(100 + number)), probing=False)
        assert allowed == [3, 6, 12, 24]

    async def test_three_failures_in_a_row_end_the_pass(
        self, central: ScriptedCentral, client: CentralClient
    ) -> None:
        central.default_fault = lambda _: faults.captive_portal
        transport = replay_transport(client, max_in_flight=1)
        result = await transport.send(window(*sessions(1, 50)), probing=False)
        assert isinstance(result.stop, RetryLater)
        assert len(central.requests) == 3

    async def test_one_failure_without_a_connection_ends_the_pass(
        self, central: ScriptedCentral
    ) -> None:
        counting = CountingCredentials()
        async with client_to(central.url, counting) as client:
            await central.stop()
            transport = replay_transport(client, max_in_flight=1)
            result = await transport.send(window(*sessions(1, 50)), probing=False)
        assert isinstance(result.stop, RetryLater)
        assert (result.stop.cause, counting.times) == (FailureCause.CENTRAL_DOWN, 1)

    async def test_probe_without_a_connection_is_not_repeated(
        self, central: ScriptedCentral, replay: ReplayTransport
    ) -> None:
        await central.stop()
        assert (await replay.send(window(session(1)), probing=True)).stop is not None

    async def test_failures_are_counted_across_windows(
        self, central: ScriptedCentral, replay: ReplayTransport
    ) -> None:
        script_fault_for("session", faults.captive_portal, central)
        stops = [
            (await replay.send(window(session(number)), probing=True)).stop
            for number in range(1, 3)
        ]
        assert [stop is None for stop in stops] == [True, False]

    async def test_probe_is_sent_without_retries(
        self, central: ScriptedCentral, replay: ReplayTransport, sleeps: RecordedSleeps
    ) -> None:
        central.default_fault = lambda _: faults.html(500)
        await replay.send(window(session(1)), probing=True)
        # The event, and a request without effect.
        assert (len(central.requests), sleeps.seconds) == (2, [])


class TestLearning:
    """Program terms are observed in the responses to sessions."""

    async def test_terms_are_reported_once_per_session_kind_until_they_change(
        self, central: ScriptedCentral, client: CentralClient
    ) -> None:
        observed: list[tuple[SessionKind, object]] = []
        transport = replay_transport(
            client, max_in_flight=1, on_terms=lambda kind, terms: observed.append((kind, terms))
        )
        here = [session(n, channel="STORE", locale="fr-CA") for n in (1, 2)]
        named = [session(n, channel="STORE", anonymousSessionId="x") for n in (3, 4)]
        await transport.send(window(*here, *named), probing=False)
        assert [kind for kind, _ in observed] == [
            SessionKind("STORE", Locale.FR_CA, is_anonymous=False),
            SessionKind("STORE", None, is_anonymous=True),
        ]
        first = observed[0][1]
        assert isinstance(first, SessionTerms)
        assert first.receipt_message == "Join to claim your points."
        changed = Answer.of(
            200, SESSION_ANSWER | {"sessionCorrelationId": "session-5", "promptMessage": "New"}
        )
        central.script(faults.respond_with(changed))
        await transport.send(window(session(5, channel="STORE", locale="fr-CA")), probing=False)
        last = observed[2][1]
        assert isinstance(last, SessionTerms)
        assert last.prompt_message == "New"

    async def test_refused_session_reports_no_terms(
        self, central: ScriptedCentral, client: CentralClient
    ) -> None:
        observed: list[SessionKind] = []
        transport = replay_transport(client, on_terms=lambda kind, _: observed.append(kind))
        central.refuse("session-1", EventType.SESSION_STARTED)
        await transport.send(window(session(1)), probing=False)
        assert observed == []


async def test_cancelled_window_leaves_no_task_behind(
    central: ScriptedCentral, replay: ReplayTransport
) -> None:
    stalled = faults.Stalled()
    central.script(stalled)
    delivering = asyncio.ensure_future(replay.send(window(*sessions(1, 9)), probing=False))
    await stalled.reached.wait()
    delivering.cancel()
    await asyncio.wait([delivering])
    assert delivering.cancelled()
    assert [task for task in asyncio.all_tasks() if "ReplayTransport" in repr(task)] == []
    stalled.release.set()


async def test_cancelled_window_reports_delivered_and_doubtful_events(
    central: ScriptedCentral, client: CentralClient
) -> None:
    stalled = faults.Stalled()
    central.script(lambda serve: serve(), stalled)
    transport = replay_transport(client, max_in_flight=1)
    delivering = asyncio.ensure_future(transport.send(window(*sessions(1, 3)), probing=False))
    await stalled.reached.wait()
    delivering.cancel()
    with pytest.raises(WindowCancelled) as cancelled:
        await delivering
    stalled.release.set()
    assert verdicts(cancelled.value.result) == {1: Delivered()}
    assert [event.position for event in cancelled.value.result.doubtful] == [2]
