"""The protocol `replay`: what becomes of a window at a backend with the loyalty API."""

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from sync.delivery.outcomes import Delivered, Hold, HoldReason, Refused, Trouble, TryLater
from sync.delivery.push import CutOff
from sync.delivery.transports.auth import Headers, NoCredentials
from sync.delivery.transports.client import Caller
from sync.delivery.transports.replay.loyalty_api import SMALL_BYTES
from sync.delivery.transports.replay.terms_observer import SessionKind
from sync.delivery.transports.replay.transport import ReplayTransport
from sync.protocol.wire import EventType
from tests.central import Answer, Fault, Request, ScriptedCentral, faults
from tests.sync.transports.parts import (
    Naps,
    answer,
    caller_to,
    replay_transport,
    session,
    sessions,
    verdicts,
    window,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sync.delivery.transports.replay.loyalty_api import Json

ALREADY = faults.problem(400, "INVALID_REQUEST", "This card has Already been confirmed")


def only(correlation_id: str, fault: Fault, central: ScriptedCentral) -> None:
    """Let every request that names the id meet `fault`."""

    def weather(request: Request) -> Fault | None:
        named = correlation_id in request.path or correlation_id.encode() in request.body
        return fault if named else None

    central.weather = weather


class Counting(NoCredentials):
    """Counts the requests that are made ready."""

    def __init__(self) -> None:
        self.times = 0

    async def headers(self, *, refused: Headers | None = None) -> Headers | Hold | TryLater:
        self.times += 1
        return await super().headers(refused=refused)


async def test_bodies_arrive_as_the_tills_sent_them(
    central: ScriptedCentral, replay: ReplayTransport
) -> None:
    odd = replace(session(1, "a/b ü%"), body=b'{ "correlationId":"a/b \xc3\xbc%" , "extra":1e2}')
    told = answer(2, odd)
    delivery = await replay.deliver(window(odd, told), probing=False)
    assert verdicts(delivery) == {1: Delivered(), 2: Delivered()}
    assert [request.body for request in central.requests] == [odd.body, told.body]
    assert central.requests[1].path == "/client/users/a%2Fb%20%C3%BC%25/profile/email"


async def test_the_locale_of_the_query_goes_along(
    central: ScriptedCentral, replay: ReplayTransport
) -> None:
    await replay.deliver(window(replace(session(1), query_locale="fr CA&x")), probing=False)
    assert central.requests[0].query == {"locale": "fr CA&x"}


async def test_order_is_kept_in_a_session_and_sessions_go_side_by_side(
    central: ScriptedCentral, replay: ReplayTransport
) -> None:
    stalled = faults.Stalled()
    central.then(stalled)
    one, two = session(1), session(2)
    events = [one, two, answer(3, one, "deferred"), answer(4, two), answer(5, one)]
    delivering = asyncio.ensure_future(replay.deliver(window(*events), probing=False))
    await stalled.reached.wait()
    await central.came(3)
    stalled.release.set()
    delivery = await delivering
    assert set(verdicts(delivery).values()) == {Delivered()}
    of_one = [r for r in central.ledger.records if r.correlation_id == "session-1"]
    assert [record.body for record in of_one] == [events[0].body, events[2].body, events[4].body]


async def test_no_more_requests_are_in_flight_than_allowed(
    central: ScriptedCentral, caller: Caller
) -> None:
    stalled = [faults.Stalled() for _ in range(3)]
    central.then(*stalled)
    transport = replay_transport(caller, max_in_flight=3)
    delivering = asyncio.ensure_future(transport.deliver(window(*sessions(1, 20)), probing=False))
    for one in stalled:
        await one.reached.wait()
    assert len(central.requests) == 3
    for one in stalled:
        one.release.set()
    assert len((await delivering).judged) == 20


async def test_an_answer_to_a_refused_session_is_not_sent(
    central: ScriptedCentral, replay: ReplayTransport
) -> None:
    central.refuse("session-1", message="Invalid Correlation ID for x@y.com")
    one = session(1)
    delivery = await replay.deliver(window(one, answer(2, one)), probing=False)
    found = verdicts(delivery)
    assert found[1] == Refused("INVALID_REQUEST", "Invalid Correlation ID for (address)", 400)
    assert isinstance(found[2], Refused)
    assert (found[2].error_code, found[2].http_status) == ("SESSION_REFUSED", None)
    assert len(central.requests) == 1


async def test_an_answer_whose_session_is_a_dead_letter_is_not_sent(
    central: ScriptedCentral, replay: ReplayTransport
) -> None:
    told = replace(answer(2, session(1)), session_refused=True)
    found = verdicts(await replay.deliver(window(told), probing=False))[2]
    assert isinstance(found, Refused)
    assert (found.error_code, len(central.requests)) == ("SESSION_REFUSED", 0)


async def test_a_session_taken_on_a_second_try_takes_its_answers_along(
    central: ScriptedCentral, replay: ReplayTransport
) -> None:
    central.refuse("session-1")
    one = session(1)
    await replay.deliver(window(one), probing=False)
    central.relent()
    found = verdicts(await replay.deliver(window(one, answer(2, one)), probing=False))
    assert found == {1: Delivered(), 2: Delivered()}


async def test_an_answer_after_which_a_later_one_was_delivered_is_not_replayed(
    central: ScriptedCentral, replay: ReplayTransport
) -> None:
    told = replace(answer(2, session(1)), is_overtaken=True)
    found = verdicts(await replay.deliver(window(told), probing=False))[2]
    assert isinstance(found, Refused)
    assert (found.error_code, len(central.requests)) == ("OVERTAKEN", 0)


async def test_an_answer_whose_address_is_erased_cannot_be_replayed(
    central: ScriptedCentral, replay: ReplayTransport
) -> None:
    told = replace(answer(2, session(1)), is_erased=True)
    found = verdicts(await replay.deliver(window(told), probing=False))[2]
    assert isinstance(found, Refused)
    assert (found.error_code, len(central.requests)) == ("ADDRESS_ERASED", 0)


@pytest.mark.parametrize("status", [400, 404, 409, 422])
async def test_one_bad_record_is_set_aside_and_the_rest_goes_on(
    central: ScriptedCentral, replay: ReplayTransport, status: int
) -> None:
    only("session-500", faults.problem(status, "SOME_CODE", "some words"), central)
    delivery = await replay.deliver(window(*sessions(1, 1_000)), probing=False)
    found = verdicts(delivery)
    assert found.pop(500) == Refused("SOME_CODE", "some words", status)
    assert (len(found), set(found.values())) == (999, {Delivered()})
    assert (delivery.left, delivery.stop) == (None, None)


async def test_a_record_too_large_is_set_aside_whoever_says_so(
    central: ScriptedCentral, replay: ReplayTransport
) -> None:
    central.then(faults.html(413))
    found = verdicts(await replay.deliver(window(session(1)), probing=False))[1]
    assert isinstance(found, Refused)
    assert (found.error_code, found.http_status) == ("PAYLOAD_TOO_LARGE", 413)


async def test_a_way_that_takes_nothing_however_small_holds_the_queue(
    central: ScriptedCentral, replay: ReplayTransport
) -> None:
    """A proxy whose limit is far too low: no record is at fault."""
    central.weather = lambda _: faults.html(413)
    delivery = await replay.deliver(window(*sessions(1, 20)), probing=False)
    assert (delivery.judged, delivery.doubtful) == ([], [])
    assert isinstance(delivery.stop, Hold)
    assert (delivery.stop.reason, delivery.stop.http_status) == (HoldReason.UNKNOWN_PROTOCOL, 413)


async def test_a_large_record_is_too_large_by_itself(
    central: ScriptedCentral, replay: ReplayTransport
) -> None:
    central.max_body_bytes = 500
    large = session(1, externalIdentifier="x" * SMALL_BYTES)
    found = verdicts(await replay.deliver(window(large, session(2)), probing=False))
    assert isinstance(found[1], Refused)
    assert found[2] == Delivered()


async def test_asking_whether_all_is_too_large_makes_no_record(
    central: ScriptedCentral, replay: ReplayTransport
) -> None:
    central.then(faults.html(413))
    await replay.deliver(window(session(1)), probing=False)
    assert len(central.requests) == 2
    assert central.ledger.records == []


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (faults.gateway(401), HoldReason.UNAUTHORIZED),
        (faults.gateway(403), HoldReason.FORBIDDEN),
        (faults.gateway(404), HoldReason.NOT_FOUND),
        (faults.html(404), HoldReason.NOT_FOUND),
        (faults.html(405), HoldReason.NOT_FOUND),
    ],
)
async def test_a_refused_caller_holds_the_queue(
    central: ScriptedCentral, caller: Caller, fault: Fault, reason: HoldReason
) -> None:
    central.weather = lambda _: fault
    transport = replay_transport(caller, max_in_flight=2)
    delivery = await transport.deliver(window(*sessions(1, 50)), probing=False)
    assert delivery.judged == []
    assert isinstance(delivery.stop, Hold)
    assert delivery.stop.reason is reason
    assert len(central.requests) <= 2


@pytest.mark.parametrize(
    ("fault", "trouble"),
    [
        (faults.captive_portal, Trouble.NOT_CENTRAL),
        (faults.redirected, Trouble.NOT_CENTRAL),
        (faults.html(400), Trouble.NOT_CENTRAL),
        (faults.gateway(400), Trouble.NOT_CENTRAL),
        (faults.gateway(422), Trouble.NOT_CENTRAL),
        (faults.html(409), Trouble.NOT_CENTRAL),
        (faults.says(Answer.of(200, {"message": "Hello"})), Trouble.NOT_CENTRAL),
        (faults.says(Answer.of(200, {"sessionCorrelationId": "other"})), Trouble.NOT_CENTRAL),
        (faults.says(Answer.of(202, {"sessionCorrelationId": "session-1"})), Trouble.NOT_CENTRAL),
        (faults.says(Answer(204)), Trouble.NOT_CENTRAL),
        (faults.cut_short, Trouble.NO_ANSWER),
        (faults.answer_lost, Trouble.NO_ANSWER),
        (faults.reset_before, Trouble.NO_ANSWER),
        (faults.gateway(504), Trouble.FAILED),
        (faults.gateway(429), Trouble.BUSY),
    ],
)
async def test_whatever_else_comes_settles_nothing_and_leaves_doubt(
    central: ScriptedCentral, replay: ReplayTransport, fault: Fault, trouble: Trouble
) -> None:
    central.weather = lambda _: fault
    one = session(1)
    delivery = await replay.deliver(window(one, answer(2, one)), probing=False)
    assert (delivery.judged, delivery.doubtful) == ([], [one])
    assert isinstance(delivery.left, TryLater)
    assert delivery.left.trouble is trouble


@pytest.mark.parametrize("message", [None, "Please log in to go on-line"])
async def test_an_e_mail_answer_of_other_words_settles_nothing(
    central: ScriptedCentral, replay: ReplayTransport, message: str | None
) -> None:
    one = session(1)
    await replay.deliver(window(one), probing=False)
    central.weather = lambda _: faults.says(Answer.of(200, {"message": message}))
    delivery = await replay.deliver(window(answer(2, one)), probing=False)
    assert (delivery.judged, len(delivery.doubtful)) == ([], 1)


async def test_a_201_is_an_answer_to_a_session_too(
    central: ScriptedCentral, replay: ReplayTransport
) -> None:
    central.then(faults.says(Answer.of(201, {"sessionCorrelationId": "session-1"})))
    assert verdicts(await replay.deliver(window(session(1)), probing=False)) == {1: Delivered()}


async def test_refused_connection_leaves_no_doubt(
    central: ScriptedCentral, replay: ReplayTransport
) -> None:
    await central.stop()
    delivery = await replay.deliver(window(session(1)), probing=False)
    assert (delivery.judged, delivery.doubtful) == ([], [])
    assert isinstance(delivery.left, TryLater)
    assert delivery.left.trouble is Trouble.AWAY


class TestAlready:
    """What "already" means after a try whose outcome is unknown, and what it means else."""

    async def test_it_counts_as_delivered_after_an_answer_lost_in_this_call(
        self, central: ScriptedCentral, replay: ReplayTransport
    ) -> None:
        central.conflicts = True
        central.then(faults.answer_lost)
        found = verdicts(await replay.deliver(window(session(1)), probing=False))
        assert found == {1: Delivered(assumed=True)}

    async def test_it_counts_as_delivered_after_a_doubtful_try_before(
        self, central: ScriptedCentral, replay: ReplayTransport
    ) -> None:
        central.then(ALREADY)
        doubtful = replace(session(1), is_doubtful=True)
        found = verdicts(await replay.deliver(window(doubtful), probing=False))
        assert found == {1: Delivered(assumed=True)}

    async def test_it_is_a_refusal_where_there_is_no_doubt(
        self, central: ScriptedCentral, replay: ReplayTransport
    ) -> None:
        central.then(ALREADY)
        found = verdicts(await replay.deliver(window(session(1)), probing=False))
        assert isinstance(found[1], Refused)

    async def test_it_stays_a_refusal_where_it_was_one_before_there_was_doubt(
        self, central: ScriptedCentral, replay: ReplayTransport
    ) -> None:
        """Another record is under this id, whatever else the words name."""
        before = Refused("CONFLICT", "already known (request 17)", 409)
        central.then(
            faults.answer_lost, faults.problem(409, "CONFLICT", "already known (request 18)")
        )
        again = replace(session(1), refusal=before)
        found = verdicts(await replay.deliver(window(again), probing=False))
        assert found == {1: Refused("CONFLICT", "already known (request 18)", 409)}

    @pytest.mark.parametrize(
        "before",
        [
            Refused("INVALID_REQUEST", "unknown channel", 400),
            Refused("CONFLICT", "a card of this number exists", 409),
        ],
    )
    async def test_it_counts_as_delivered_where_the_refusal_before_was_another(
        self, central: ScriptedCentral, replay: ReplayTransport, before: Refused
    ) -> None:
        central.then(ALREADY)
        again = replace(session(1), is_doubtful=True, refusal=before)
        found = verdicts(await replay.deliver(window(again), probing=False))
        assert found == {1: Delivered(assumed=True)}

    async def test_another_refusal_stays_one_in_doubt_as_well(
        self, central: ScriptedCentral, replay: ReplayTransport
    ) -> None:
        central.refuse("session-1")
        doubtful = replace(session(1), is_doubtful=True)
        found = verdicts(await replay.deliver(window(doubtful), probing=False))
        assert isinstance(found[1], Refused)

    async def test_doubt_ends_with_what_central_says_of_the_record_itself(
        self, central: ScriptedCentral, replay: ReplayTransport
    ) -> None:
        central.refuse("session-1")
        doubtful = replace(session(1), is_doubtful=True)
        delivery = await replay.deliver(window(doubtful), probing=False)
        assert (len(delivery.judged), delivery.doubtful) == (1, [])

    async def test_doubt_outlives_a_refusal_by_something_on_the_way(
        self, central: ScriptedCentral, replay: ReplayTransport
    ) -> None:
        central.then(faults.answer_lost, faults.html(413))
        delivery = await replay.deliver(window(one := session(1)), probing=False)
        assert isinstance(verdicts(delivery)[1], Refused)
        assert delivery.doubtful == [one]

    async def test_doubt_of_an_answer_outlives_the_refusal_of_its_session(
        self, replay: ReplayTransport
    ) -> None:
        one = replace(answer(2, session(1)), is_doubtful=True, session_refused=True)
        delivery = await replay.deliver(window(one), probing=False)
        assert isinstance(verdicts(delivery)[2], Refused)
        assert delivery.doubtful == [one]

    async def test_an_old_doubt_outlives_a_try_that_did_not_get_out(
        self, central: ScriptedCentral, replay: ReplayTransport
    ) -> None:
        await central.stop()
        doubtful = replace(session(1), is_doubtful=True)
        delivery = await replay.deliver(window(doubtful), probing=False)
        assert delivery.doubtful == [doubtful]


class TestTroubleInALane:
    """An event without a verdict stops its own lane, and after some in a row the pass."""

    async def test_the_rest_of_the_lane_waits_and_other_lanes_go_on(
        self, central: ScriptedCentral, replay: ReplayTransport
    ) -> None:
        one, two = session(1), session(2)
        events = [one, two, answer(3, one), answer(4, two)]
        only("session-1", faults.html(500), central)
        delivery = await replay.deliver(window(*events), probing=False)
        assert sorted(verdicts(delivery)) == [2, 4]
        assert delivery.stop is None
        assert isinstance(delivery.left, TryLater)
        assert delivery.doubtful == [one]

    async def test_it_waits_in_later_windows_of_the_pass_as_well(
        self, central: ScriptedCentral, replay: ReplayTransport
    ) -> None:
        one = session(1)
        only("session-1", faults.html(500), central)
        await replay.deliver(window(one, session(2)), probing=False)
        central.weather = lambda _: None
        requests = len(central.requests)
        delivery = await replay.deliver(window(answer(3, one)), probing=False)
        assert (delivery.judged, len(central.requests)) == ([], requests)
        assert isinstance(delivery.left, TryLater)
        delivery = await replay.deliver(window(one, answer(3, one)), probing=False)
        assert sorted(verdicts(delivery)) == [1, 3]

    async def test_it_does_not_wait_for_an_event_that_is_no_longer_there(
        self, central: ScriptedCentral, replay: ReplayTransport
    ) -> None:
        one = session(1)
        told, again = answer(3, one, "deferred"), answer(4, one)
        await replay.deliver(window(one), probing=False)
        only("session-1", faults.html(500), central)
        await replay.deliver(window(told, again), probing=False)
        central.weather = lambda _: None
        assert sorted(verdicts(await replay.deliver(window(again), probing=False))) == [4]

    async def test_three_in_a_row_end_the_pass(
        self, central: ScriptedCentral, caller: Caller
    ) -> None:
        central.weather = lambda _: faults.captive_portal
        transport = replay_transport(caller, max_in_flight=1)
        delivery = await transport.deliver(window(*sessions(1, 50)), probing=False)
        assert isinstance(delivery.stop, TryLater)
        assert len(central.requests) == 3

    async def test_one_ends_the_pass_where_nobody_was_reached(
        self, central: ScriptedCentral
    ) -> None:
        counting = Counting()
        async with caller_to(central.url, counting) as caller:
            await central.stop()
            transport = replay_transport(caller, max_in_flight=1)
            delivery = await transport.deliver(window(*sessions(1, 50)), probing=False)
        assert isinstance(delivery.stop, TryLater)
        assert (delivery.stop.trouble, counting.times) == (Trouble.AWAY, 1)

    async def test_a_probe_that_reaches_nobody_is_not_followed_by_another(
        self, central: ScriptedCentral, replay: ReplayTransport
    ) -> None:
        await central.stop()
        assert (await replay.deliver(window(session(1)), probing=True)).stop is not None

    async def test_they_are_counted_across_windows(
        self, central: ScriptedCentral, replay: ReplayTransport
    ) -> None:
        central.weather = lambda _: faults.captive_portal
        stops = [
            (await replay.deliver(window(session(number)), probing=True)).stop
            for number in range(1, 4)
        ]
        assert [stop is None for stop in stops] == [True, True, False]

    async def test_records_that_fail_while_others_get_through_say_nothing_of_central(
        self, central: ScriptedCentral, replay: ReplayTransport
    ) -> None:
        only("sick", faults.html(500), central)
        sick = [session(number, f"sick-{number}") for number in range(1, 3)]
        await replay.deliver(window(*sick, session(10)), probing=False)
        sick += [session(3, "sick-3")]
        delivery = await replay.deliver(window(*sick, session(11)), probing=False)
        assert (sorted(verdicts(delivery)), delivery.stop) == ([11], None)

    async def test_a_probe_is_tried_once(
        self, central: ScriptedCentral, replay: ReplayTransport, naps: Naps
    ) -> None:
        central.weather = lambda _: faults.html(500)
        await replay.deliver(window(session(1)), probing=True)
        assert (len(central.requests), naps.seconds) == (1, [])


class TestLearning:
    """Program terms are learned from the answers to sessions."""

    async def test_each_kind_of_session_teaches_once_until_the_answer_changes(
        self, central: ScriptedCentral, caller: Caller
    ) -> None:
        lessons: list[tuple[SessionKind, Mapping[str, Json]]] = []
        transport = replay_transport(
            caller, max_in_flight=1, learned=lambda kind, terms: lessons.append((kind, terms))
        )
        here = [session(n, channel="STORE", locale="fr-CA") for n in (1, 2)]
        named = [session(n, channel="STORE", anonymousSessionId="x") for n in (3, 4)]
        await transport.deliver(window(*here, *named), probing=False)
        assert [kind for kind, _ in lessons] == [
            SessionKind("STORE", "fr-CA", is_anonymous=False),
            SessionKind("STORE", None, is_anonymous=True),
        ]
        assert lessons[0][1]["receiptMessage"] == "Join to claim your points."
        assert "sessionCorrelationId" not in lessons[0][1]
        changed = Answer.of(200, {"sessionCorrelationId": "session-5", "promptMessage": "New"})
        central.then(faults.says(changed))
        await transport.deliver(window(session(5, channel="STORE", locale="fr-CA")), probing=False)
        assert lessons[2][1] == {"promptMessage": "New"}

    async def test_a_refused_session_teaches_nothing(
        self, central: ScriptedCentral, caller: Caller
    ) -> None:
        lessons: list[SessionKind] = []
        transport = replay_transport(caller, learned=lambda kind, _: lessons.append(kind))
        central.refuse("session-1", EventType.SESSION_STARTED)
        await transport.deliver(window(session(1)), probing=False)
        assert lessons == []


async def test_a_window_cut_off_leaves_no_task_behind(
    central: ScriptedCentral, replay: ReplayTransport
) -> None:
    stalled = faults.Stalled()
    central.then(stalled)
    delivering = asyncio.ensure_future(replay.deliver(window(*sessions(1, 9)), probing=False))
    await stalled.reached.wait()
    delivering.cancel()
    await asyncio.wait([delivering])
    assert delivering.cancelled()
    assert [task for task in asyncio.all_tasks() if "ReplayTransport" in repr(task)] == []
    stalled.release.set()


async def test_a_window_cut_off_tells_what_is_delivered_and_what_may_have_arrived(
    central: ScriptedCentral, caller: Caller
) -> None:
    stalled = faults.Stalled()
    central.then(lambda serve: serve(), stalled)
    transport = replay_transport(caller, max_in_flight=1)
    delivering = asyncio.ensure_future(transport.deliver(window(*sessions(1, 3)), probing=False))
    await stalled.reached.wait()
    delivering.cancel()
    with pytest.raises(CutOff) as cut:
        await delivering
    stalled.release.set()
    assert verdicts(cut.value.known) == {1: Delivered()}
    assert [event.position for event in cut.value.known.doubtful] == [2]
