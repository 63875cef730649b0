"""An event with a trouble of its own never holds the others: real outbox and transports."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from agent.doctor.store.findings import check_stuck
from sync.delivery.outcomes import Blocked, BlockedReason, RetryLater
from sync.protocol.wire import EventType
from tests.model.delivery_harness import DeliveryHarness, numbered_answer, numbered_session
from tests.support.central import Fault, Request, faults
from tests.support.central.batch_protocol import read_batch

REFUSALS = {
    "401": faults.gateway(401),
    "403": faults.html(403),
    "404": faults.html(404),
    "405": faults.html(405),
    "long Retry-After": faults.overloaded("3000", 503),
    "500": faults.html(500),
    "no answer": faults.reset_before,
    "another page": faults.captive_portal,
}
HARMLESS = "/client/users/00000000-0000-0000-0000-000000000000/profile/email"
BY_GATEWAY = ["401", "403", "404", "405"]


@pytest.fixture
def replay() -> Iterator[DeliveryHarness]:
    with harness("replay") as one:
        yield one


@contextmanager
def harness(protocol: str) -> Iterator[DeliveryHarness]:
    one = DeliveryHarness(protocol)
    try:
        yield one
    finally:
        one.close()


def capture(shop: DeliveryHarness, *names: str) -> None:
    """Capture a session of each name; they are numbered from the first one on."""
    for number, name in enumerate(names, len(shop.held()) + 1):
        shop.capture(numbered_session(name, number))


def fault_for(name: str, fault: Fault) -> Callable[[Request], Fault | None]:
    """Return a fault of every request that has the name in its path or content."""

    def default_fault(request: Request) -> Fault | None:
        content = request.body
        if request.encoding == "zstd":
            batch = read_batch(request.body, request.encoding)
            content = b" ".join(bytes(event.body) for event in batch.events)
        return fault if name in request.path or name.encode() in content else None

    return default_fault


def disturb(shop: DeliveryHarness, name: str, fault: Fault) -> None:
    shop.central.default_fault = fault_for(name, fault)


def delivered(shop: DeliveryHarness) -> list[str]:
    return [record.correlation_id for record in shop.central.ledger.records]


@pytest.mark.parametrize("kind", sorted(REFUSALS))
@pytest.mark.parametrize("probing", [True, False])
def test_event_that_a_gateway_dislikes_is_passed_by(
    replay: DeliveryHarness,
    kind: str,
    probing: bool,  # noqa: FBT001 - a case
) -> None:
    disturb(replay, "bad", REFUSALS[kind])
    capture(replay, "bad", "good-1", "good-2", "good-3", "good-4", "good-5")

    report = replay.push(probing=probing)

    assert sorted(delivered(replay)) == [f"good-{number}" for number in range(1, 6)]
    assert report.stop is None


@pytest.mark.parametrize("kind", [*BY_GATEWAY, "long Retry-After"])
def test_event_alone_that_a_gateway_dislikes_does_not_hold_the_next_capture(
    replay: DeliveryHarness, kind: str
) -> None:
    """No other event shows that the agent is welcome: a harmless request does."""
    disturb(replay, "bad", REFUSALS[kind])
    capture(replay, "bad")
    assert replay.push().stop is None

    capture(replay, "good")
    assert replay.push().stop is None
    assert delivered(replay) == ["good"]


@pytest.mark.parametrize("kind", BY_GATEWAY)
def test_event_that_a_gateway_refuses_again_becomes_a_dead_letter(
    replay: DeliveryHarness, kind: str
) -> None:
    disturb(replay, "bad", REFUSALS[kind])
    capture(replay, "bad", "good")
    for _ in range(3):
        replay.push()
        replay.clock.pass_seconds(3_600)

    (letter,) = replay.dead_letters_shown()
    assert (letter.error_code, letter.http_status) == ("REFUSED_BY_GATEWAY", int(kind))
    assert letter.stuck_since_us is None
    assert "a firewall or gateway" in letter.error_message


def test_answer_waits_behind_its_session_and_follows_it(replay: DeliveryHarness) -> None:
    disturb(replay, "bad", REFUSALS["403"])
    capture(replay, "bad", "good")
    replay.capture(numbered_answer("bad", 3))
    replay.push()
    replay.capture(numbered_answer("bad", 4))
    replay.push()
    assert delivered(replay) == ["good"]

    replay.central.default_fault = lambda _: None
    replay.clock.pass_seconds(3_600)
    for _ in range(3):
        replay.push()
    bodies = [record.body for record in replay.central.ledger.records]
    assert [b'"n":%d' % number in body for number, body in zip((2, 1, 3, 4), bodies, strict=True)]
    assert replay.dead_letters_shown() == []


def test_answers_of_a_session_that_is_set_aside_are_set_aside_with_it(
    replay: DeliveryHarness,
) -> None:
    disturb(replay, "bad", REFUSALS["403"])
    capture(replay, "bad", "good")
    replay.capture(numbered_answer("bad", 3))
    for _ in range(4):
        replay.push()
        replay.clock.pass_seconds(3_600)

    assert [letter.error_code for letter in replay.dead_letters_shown()] == [
        "REFUSED_BY_GATEWAY",
        "SESSION_REFUSED",
    ]


def test_answer_does_not_overtake_its_session_when_the_retry_of_both_fails(
    replay: DeliveryHarness,
) -> None:
    """The session's next try was later, the answer's was due: it was sent first."""
    replay.central.refuse("bad")
    capture(replay, "bad", "good-1")
    replay.capture(numbered_answer("bad", 3))
    replay.push()
    assert len(replay.dead_letters_shown()) == 2

    replay.central.accept_all()
    disturb(replay, '"n":1}', REFUSALS["500"])
    replay.retry_all()
    for number in range(4, 7):
        capture(replay, f"good-{number}")
        replay.push()
    assert not any(
        request.path.endswith("bad/profile/email") for request in replay.central.requests
    )

    replay.central.default_fault = lambda _: None
    replay.clock.pass_seconds(60)
    replay.push()
    assert delivered(replay)[-2:] == ["bad", "bad"]
    assert replay.dead_letters_shown() == []


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("401", BlockedReason.UNAUTHORIZED),
        ("403", BlockedReason.GATEWAY),
        ("404", BlockedReason.NOT_FOUND),
    ],
)
def test_refusal_of_everything_is_a_verdict_on_the_agent(
    replay: DeliveryHarness, kind: str, reason: BlockedReason
) -> None:
    replay.central.default_fault = lambda _: REFUSALS[kind]
    capture(replay, *(f"s{number}" for number in range(1, 40)))

    report = replay.push()

    assert isinstance(report.stop, Blocked)
    assert report.stop.reason is reason
    assert replay.dead_letters_shown() == []
    assert replay.http.tries <= 6


def test_missing_sessions_endpoint_is_a_verdict_on_the_agent(replay: DeliveryHarness) -> None:
    """A harmless request is answered, and yet every event fares the same."""
    replay.central.default_fault = lambda request: (
        faults.html(404) if request.method == "POST" else None
    )
    capture(replay, *(f"s{number}" for number in range(1, 40)))

    for _ in range(5):
        assert isinstance(replay.push(probing=True).stop, Blocked)
        replay.clock.pass_seconds(3_600)

    assert [one for one in replay.dead_letters_shown() if one.stuck_since_us is None] == []


@pytest.mark.parametrize("kind", ["500", "403"])
def test_two_bad_sessions_hold_a_quiet_store_for_minutes_only(
    replay: DeliveryHarness, kind: str
) -> None:
    """They held the answers of others, and head office seemed to fail, until a later session."""
    disturb(replay, "bad", REFUSALS[kind])
    capture(replay, "good")
    replay.push()
    replay.restart()
    capture(replay, "bad-1", "bad-2")
    replay.capture(numbered_answer("good", 4))
    failures = 0
    while replay.push(probing=True, failures=failures).stop is not None and failures < 20:
        replay.clock.pass_seconds(60)
        failures += 1
    assert 8 <= failures <= 12
    assert delivered(replay) == ["good", "good"]
    assert [one.stuck_since_us is not None for one in replay.dead_letters_shown()] == [True] * 2

    capture(replay, "later")
    assert replay.push().stop is None
    assert delivered(replay) == ["good", "good", "later"]


@pytest.mark.parametrize("sessions", [1, 2])
def test_failure_of_head_office_defers_nothing_in_a_quiet_store(
    replay: DeliveryHarness, sessions: int
) -> None:
    replay.central.default_fault = lambda _: faults.html(500)
    capture(replay, *(f"s{number}" for number in range(sessions)))
    for failures in range(30):
        assert replay.push(probing=failures > 0, failures=failures).stop is not None
    assert replay.dead_letters_shown() == []


def test_failure_of_many_sessions_of_a_quiet_store_is_one_of_head_office(
    replay: DeliveryHarness,
) -> None:
    replay.central.default_fault = lambda request: (
        faults.html(500) if request.method == "POST" else None
    )
    capture(replay, *(f"s{number}" for number in range(6)))
    for failures in range(30):
        assert replay.push(probing=failures > 0, failures=failures).stop is not None
    assert replay.dead_letters_shown() == []


@pytest.mark.parametrize("kind", ["500", "403"])
def test_more_than_a_hundred_events_in_a_row_that_fail_do_not_hold_the_rest(
    replay: DeliveryHarness, kind: str
) -> None:
    """Passing by had a limit of a hundred."""
    disturb(replay, "bad", REFUSALS[kind])
    good = [f"good-{number}" for number in range(30)]
    capture(replay, *(f"bad-{number}" for number in range(120)), *good)

    for number in range(8):
        replay.push(probing=number > 0)

    assert sorted(delivered(replay)) == sorted(good)


def test_newest_capture_passes_events_that_all_fail(replay: DeliveryHarness) -> None:
    disturb(replay, "bad", REFUSALS["500"])
    capture(replay, *(f"bad-{number}" for number in range(30)), "good")
    replay.push()
    assert delivered(replay) == ["good"]


def test_failure_of_everything_leaves_the_order_as_it_was(replay: DeliveryHarness) -> None:
    replay.central.default_fault = lambda _: faults.html(500)
    names = [f"s{number}" for number in range(1, 10)]
    capture(replay, *names)
    for _ in range(3):
        report = replay.push(probing=True)
        assert isinstance(report.stop, RetryLater)
    assert replay.dead_letters_shown() == []

    replay.central.default_fault = lambda _: None
    replay.push(probing=True)
    assert delivered(replay) == names


def test_event_that_arrived_before_a_gateway_refused_its_repeat_stays_in_doubt(
    replay: DeliveryHarness,
) -> None:
    """Else "already exists" is a refusal, and what head office has becomes a dead letter."""
    replay.central.conflicts = True
    seen: set[bytes] = set()

    def lost_then_refused(request: Request) -> Fault | None:
        if b"bad" not in request.body:
            return None
        is_repeat = request.body in seen
        seen.add(request.body)
        return REFUSALS["403"] if is_repeat else faults.answer_lost

    replay.central.default_fault = lost_then_refused
    capture(replay, "bad-1", "bad-2", "bad-3", "good-1", "good-2")
    assert replay.push().deferred == 3
    assert len(delivered(replay)) == 5

    replay.central.default_fault = lambda _: None
    replay.clock.pass_seconds(3_600)
    assert replay.push().assumed == 3
    assert replay.dead_letters_shown() == []


def test_deferred_event_is_sent_once_when_it_is_tried_again(replay: DeliveryHarness) -> None:
    """A repeat at once would triple the load of thousands of them."""
    disturb(replay, "bad", REFUSALS["500"])
    for names in (["bad", "good-1"], ["good-2"]):
        capture(replay, *names)
        replay.push()
    replay.clock.pass_seconds(3_600)
    before = len(replay.central.requests)
    replay.push()
    assert len(replay.central.requests) - before == 2  # and the harmless request


def test_no_session_is_set_aside_while_their_endpoint_is_down(replay: DeliveryHarness) -> None:
    """A harmless request is answered, and no event passes: it is no trouble of their own."""
    replay.central.default_fault = lambda request: (
        faults.html(500) if request.method == "POST" else None
    )
    for day in range(1, 10):
        replay.capture(numbered_session(f"s{day}", day))
        for _ in range(12):
            replay.push(probing=True)
            replay.clock.pass_seconds(7_200)
        replay.set_aside_stuck(days=7)
    assert all(letter.stuck_since_us is not None for letter in replay.dead_letters_shown())

    replay.central.default_fault = lambda _: None
    replay.push(probing=True)
    assert len(delivered(replay)) == 9


def test_endpoint_that_is_down_is_no_trouble_of_single_sessions(
    replay: DeliveryHarness,
) -> None:
    """With one capture at a time each was set apart by itself, and delivery seemed to work."""
    replay.central.default_fault = lambda request: (
        faults.html(500) if request.method == "POST" else None
    )
    stops = []
    for minute in range(1, 61):
        replay.capture(numbered_session(f"s{minute}", minute))
        stops.append(replay.push(probing=minute > 2).stop)
        replay.clock.pass_seconds(60)
    assert all(isinstance(stop, RetryLater) and stop.http_status == 500 for stop in stops[1:])
    assert len(replay.dead_letters_shown()) == 1
    assert replay.http.tries <= 3 * 60

    replay.central.default_fault = lambda _: None
    for _ in range(10):
        replay.push()
        replay.clock.pass_seconds(30)
    assert len(delivered(replay)) == 60


def test_one_good_session_a_minute_is_enough_to_pass_hundreds_of_bad_ones(
    replay: DeliveryHarness,
) -> None:
    """Three a minute were passed by, and the answers of good sessions waited for hours."""
    disturb(replay, "bad", REFUSALS["500"])
    capture(replay, *(f"bad-{number}" for number in range(300)))
    for minute in range(3):
        replay.capture(numbered_session(f"good-{minute}", 301 + 2 * minute))
        replay.capture(numbered_answer(f"good-{minute}", 302 + 2 * minute))
        for _ in range(2):
            replay.push(probing=True)
            replay.clock.pass_seconds(30)
    assert len(delivered(replay)) == 6

    replay.clock.pass_seconds(600)
    replay.push()
    replay.central.default_fault = lambda _: None
    for _ in range(8):
        replay.clock.pass_seconds(60)
        replay.push()
    assert len(delivered(replay)) == 306


@pytest.mark.slow
def test_events_that_are_stuck_are_tried_rarely_and_follow_the_first_that_passes(
    replay: DeliveryHarness,
) -> None:
    """Each was tried a dozen times in its first hour, and delivered up to an hour late."""
    disturb(replay, "profile/email", REFUSALS["500"])
    replay.central.script(*[faults.problem(400, "NO_SUCH_SESSION")] * 1_000, on=HARMLESS)
    for minute in range(20):
        replay.capture(numbered_session(f"s{minute}", 2 * minute + 1))
        replay.capture(numbered_answer(f"s{minute}", 2 * minute + 2))
        for _ in range(2):
            replay.push()
            replay.clock.pass_seconds(30)
    paths = [one.path for one in replay.central.requests]
    assert len([one for one in paths if one.endswith("email") and one != HARMLESS]) <= 160

    replay.central.default_fault = lambda _: None
    for _ in range(8):
        replay.push()
        replay.clock.pass_seconds(60)
    assert len(delivered(replay)) == 40


@pytest.mark.parametrize("kind", ["403", "500"])
def test_no_event_is_set_aside_while_a_batch_passes_without_its_contents_only(kind: str) -> None:
    """Head office took the bare numbers, and every capture of the week became a dead letter."""
    with harness("batch") as shop:
        disturb(shop, '"n":', REFUSALS[kind])
        for day in range(1, 12):
            shop.capture(numbered_session(f"s{day}", day))
            for _ in range(12):
                shop.push(probing=True)
                shop.clock.pass_seconds(7_200)
            shop.set_aside_stuck(days=7)
        assert all(letter.stuck_since_us is not None for letter in shop.dead_letters_shown())

        shop.central.default_fault = lambda _: None
        shop.push(probing=True)
        assert len(delivered(shop)) == 11


def test_event_on_which_a_batch_fails_while_others_pass_is_set_aside() -> None:
    with harness("batch") as shop:
        disturb(shop, "bad", REFUSALS["500"])
        capture(shop, "bad")
        for day in range(2, 14):
            shop.capture(numbered_session(f"s{day}", day))
            for _ in range(3):
                shop.push()
                shop.clock.pass_seconds(28_800)
            shop.set_aside_stuck(days=7)
        (letter,) = shop.dead_letters_shown()
        assert letter.stuck_since_us is None


def test_deferred_events_that_are_due_together_are_not_taken_for_a_failure_of_head_office() -> None:
    """They fail as one batch: delivery seemed to fail every hour, and their days did not count."""
    with harness("batch") as shop:
        disturb(shop, "bad", REFUSALS["500"])
        capture(shop, "bad-1", "bad-2", "good-1")
        for _ in range(6):
            shop.push(probing=True)
        for number in range(2, 6):
            shop.clock.pass_seconds(7_200)
            capture(shop, f"good-{number}")
            report = shop.push()
            assert (report.stop, report.delivered, report.deferred) == (None, 1, 2)


def test_batch_of_deferred_events_is_sent_once_when_it_is_tried_again() -> None:
    """Each request was repeated twice at once: thousands an hour for a thousand stuck events."""
    with harness("batch") as shop:
        disturb(shop, "bad", REFUSALS["500"])
        capture(shop, "bad-1", "bad-2", "good-1")
        for _ in range(6):
            shop.push(probing=True)
        shop.clock.pass_seconds(7_200)
        before = shop.http.tries
        assert shop.push().deferred == 2
        # Both, each, and the number of each.
        assert shop.http.tries - before == 5


def test_event_that_is_answered_429_is_passed_by_while_others_are_tried_again() -> None:
    """Each deferred event that was tried before it began its count anew: it held all, for ever."""
    with harness("batch") as shop:
        capture(shop, "bad-500", "bad-429", "good")
        of_429 = fault_for("bad-429", faults.overloaded("1"))
        of_500 = fault_for("bad-500", REFUSALS["500"])
        shop.central.default_fault = lambda one: of_500(one) or of_429(one)
        for _ in range(12):
            shop.push(probing=True)
            shop.clock.pass_seconds(7_200)
        assert delivered(shop) == ["good"]


def test_event_that_is_answered_429_again_and_again_does_not_hold_a_batch() -> None:
    """A firewall's answer to one content: it counted as the load of head office, for ever."""
    with harness("batch") as shop:
        disturb(shop, "bad", faults.overloaded("3000"))
        capture(shop, "bad", "good")
        for _ in range(6):
            shop.push(probing=True)
        assert delivered(shop) == ["good"]


def test_person_is_not_told_that_others_are_delivered_where_none_is(
    replay: DeliveryHarness,
) -> None:
    """Only the sessions' endpoint is down, in a quiet store; a harmless request is answered."""
    replay.central.default_fault = lambda request: (
        faults.html(500) if request.method == "POST" else None
    )
    capture(replay, "one")
    for _ in range(12):
        replay.push(probing=True)
        replay.clock.pass_seconds(7_200)
    found = check_stuck(replay.directory)
    assert found is not None
    assert found.found == (
        "no verdict of head office on 1 capture, though it answers other requests:"
        " 1 NO_VERDICT (500)"
    )


def test_session_that_fails_while_others_pass_is_set_aside(replay: DeliveryHarness) -> None:
    disturb(replay, "bad", REFUSALS["500"])
    capture(replay, "bad")
    for day in range(2, 12):
        replay.capture(numbered_session(f"s{day}", day))
        for _ in range(12):
            replay.push()
            replay.clock.pass_seconds(7_200)
        replay.set_aside_stuck(days=7)
    (letter,) = replay.dead_letters_shown()
    assert letter.stuck_since_us is None


@pytest.mark.parametrize("kind", BY_GATEWAY)
def test_batch_finds_the_single_event_that_a_gateway_dislikes(kind: str) -> None:
    with harness("batch") as shop:
        disturb(shop, "bad", REFUSALS[kind])
        capture(shop, "s1", "s2", "bad", "s4", "s5", "s6", "s7")
        for _ in range(4):
            shop.push()
            shop.clock.pass_seconds(3_600)

        assert delivered(shop) == ["s1", "s2", "s4", "s5", "s6", "s7"]
        (letter,) = shop.dead_letters_shown()
        assert (letter.error_code, letter.http_status) == ("REFUSED_BY_GATEWAY", int(kind))


def test_batch_finds_the_single_event_that_head_office_fails_on() -> None:
    """A 500 for a batch said nothing of its events: all waited for ever."""
    with harness("batch") as shop:
        disturb(shop, "bad", REFUSALS["500"])
        capture(shop, "s1", "bad", "s3", "s4", "s5")
        for _ in range(8):
            shop.push(probing=True)

        assert delivered(shop) == ["s1", "s3", "s4", "s5"]
        (letter,) = shop.dead_letters_shown()
        assert (letter.error_code, letter.http_status) == ("NO_VERDICT", 500)


def test_batch_passes_many_events_in_a_row_on_which_head_office_fails() -> None:
    """Each took three passes, with the longest backoff after each: an hour for forty."""
    with harness("batch") as shop:
        disturb(shop, "bad", REFUSALS["500"])
        capture(shop, *(f"bad-{number}" for number in range(40)), "good-1", "good-2")
        for _ in range(6):
            shop.push(probing=True)
        assert delivered(shop) == ["good-1", "good-2"]


def test_answers_wait_behind_a_session_that_a_batch_defers() -> None:
    """Head office rejects them, for it has no session yet: that is no verdict on them."""
    with harness("batch") as shop:
        disturb(shop, "bad", REFUSALS["403"])
        shop.central.refuse("bad", EventType.EMAIL_ANSWERED, "SESSION_REFUSED", "was rejected")
        capture(shop, "s1", "bad", "s3")
        shop.capture(numbered_answer("bad", 4))
        shop.push()
        shop.capture(numbered_answer("bad", 5))
        shop.push()
        assert [letter.error_code for letter in shop.dead_letters_shown()] == [
            "REFUSED_BY_GATEWAY",
            "SESSION_WAITS",
            "SESSION_WAITS",
        ]
        assert all(letter.stuck_since_us is not None for letter in shop.dead_letters_shown())

        shop.central.default_fault = lambda _: None
        shop.central.accept_all()
        shop.clock.pass_seconds(3_600)
        for _ in range(3):
            shop.push()
        assert shop.dead_letters_shown() == []
        assert delivered(shop) == ["s1", "s3", "bad", "bad", "bad"]


def test_batch_is_halved_if_a_firewall_answers_403_to_its_size() -> None:
    with harness("batch") as shop:
        shop.central.default_fault = lambda request: (
            faults.html(403) if len(request.body) > 600 else None
        )
        capture(shop, *(f"s{number}" for number in range(1, 10)))
        shop.push()
        assert len(delivered(shop)) == 9
        assert shop.dead_letters_shown() == []


@pytest.mark.parametrize("kind", BY_GATEWAY)
def test_batch_that_is_refused_whatever_it_holds_is_a_verdict_on_the_agent(kind: str) -> None:
    with harness("batch") as shop:
        shop.central.default_fault = lambda request: (
            REFUSALS[kind] if request.path.endswith("/batches") else None
        )
        capture(shop, "s1", "s2", "s3")
        assert isinstance(shop.push().stop, Blocked)
        assert shop.dead_letters_shown() == []
