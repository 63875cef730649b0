"""Event rate limit; rejected batches get staggered Retry-After values and then pass."""

import itertools
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sync.delivery.backoff import MAX_RETRY_AFTER_SECONDS
from sync.receiver.admission.load_shedding import (
    LONGEST_SECONDS,
    LoadShedder,
    OverItsShare,
    Overloaded,
)
from sync.receiver.auth.tokens import AgentName
from tests.support.clocks import MonotonicClock

BATCHES = st.integers(0, 5000)
STARTED = 1000.0


def sender(number: object) -> AgentName:
    """Return one of many agents."""
    return AgentName(f"{number}", "till-1")


def retry_after(shedder: LoadShedder, events: int, number: object = 0) -> int:
    """Offer a batch of an agent; return its Retry-After in seconds, 0 if admitted."""
    try:
        with shedder.admitted_events(sender(number), events):
            pass
    except Overloaded as busy:
        return busy.retry_after_seconds
    return 0


def rejections(shedder: LoadShedder, count: int) -> list[int]:
    """Reject `count` agents; return the Retry-After of each."""
    return [shedder.rejection(sender(number)).retry_after_seconds for number in range(count)]


def serve(shedder: LoadShedder, clock: MonotonicClock, seconds: float, times: int) -> None:
    """Serve `times` batches one after the other, each for `seconds`."""
    for _ in range(times):
        with shedder.measured():
            clock.seconds += seconds


def test_longest_retry_after_equals_the_agents_maximum() -> None:
    assert LONGEST_SECONDS == MAX_RETRY_AFTER_SECONDS


@given(batches=st.lists(BATCHES))
def test_no_limit_admits_everything(batches: list[int]) -> None:
    shedder = LoadShedder(1, 0, MonotonicClock(STARTED))

    assert [retry_after(shedder, events) for events in batches] == [0] * len(batches)


@example(batches=[360, 360, 0], per_second=320)  # the bucket is refilled to exactly 0
@given(batches=st.lists(BATCHES, max_size=20), per_second=st.integers(100, 10_000))
def test_batch_that_honours_retry_after_is_admitted(batches: list[int], per_second: int) -> None:
    clock = MonotonicClock(STARTED)
    shedder = LoadShedder(1, per_second, clock)

    for number, events in enumerate(batches):
        if wait := retry_after(shedder, events, number % 3):
            clock.seconds += wait
            assert retry_after(shedder, events, number % 3) == 0


def test_batch_larger_than_the_rate_is_admitted_and_the_next_waits_for_it() -> None:
    shedder = LoadShedder(1, 100, MonotonicClock(STARTED))

    assert [retry_after(shedder, 1000), retry_after(shedder, 1)] == [0, 10]


def test_idle_time_does_not_accumulate_a_larger_burst() -> None:
    """Half a second's events at once, each sender a quarter of them."""
    clock = MonotonicClock(STARTED)
    shedder = LoadShedder(1, 1000, clock)
    clock.seconds += 3600

    waits = [retry_after(shedder, 125, number) for number in range(6)]

    assert [wait > 0 for wait in waits] == [False] * 4 + [True] * 2


def test_large_batch_of_one_store_turns_no_other_store_away() -> None:
    shedder = LoadShedder(1, 100, MonotonicClock(STARTED))

    waits = [retry_after(shedder, events, number) for number, events in enumerate((10_000, 1, 1))]

    assert waits == [0, 0, 0]


def test_refusals_of_one_store_do_not_lengthen_the_wait_of_another() -> None:
    """20 s of refused requests once made another store be told to wait half an hour."""
    shedder = LoadShedder(1, 1, MonotonicClock(STARTED))
    clock_refusals = {retry_after(shedder, 1, "refused") for _ in range(2000)}
    overloaded = {shedder.rejection(sender("overloaded")).retry_after_seconds for _ in range(2000)}

    other = shedder.rejection(sender("other")).retry_after_seconds

    assert len(clock_refusals | overloaded) < 5
    assert other <= 1 + 100  # one slot of an average batch behind one agent


def test_agent_over_its_share_gets_no_slot() -> None:
    clock = MonotonicClock(STARTED)
    shedder = LoadShedder(1, 100, clock)
    retry_after(shedder, 1000, "hog")
    for _ in range(100):
        with pytest.raises(OverItsShare):
            shedder.check(sender("hog"))

    assert shedder.rejection(sender("other")).retry_after_seconds == 1


def test_batch_that_fails_costs_the_others_nothing() -> None:
    shedder = LoadShedder(1, 100, MonotonicClock(STARTED))
    before = rejections(LoadShedder(1, 100, MonotonicClock(STARTED)), 10)
    with suppress(OSError), shedder.admitted_events(sender("failing"), 5000):
        raise OSError("a gap, a malformed event, a database that is away")

    assert retry_after(shedder, 1, "failing") > 0
    assert [retry_after(shedder, 12, number) for number in range(4)] == [0] * 4
    assert before == rejections(LoadShedder(1, 100, MonotonicClock(STARTED)), 10)


@given(
    offers=st.lists(st.tuples(BATCHES, st.floats(0, 2)), max_size=80),
    per_second=st.integers(100, 10_000),
)
def test_no_time_window_has_more_retries_than_admissible_events(
    offers: list[tuple[int, float]], per_second: int
) -> None:
    """Up to one more, and those of one second, as Retry-After is in whole seconds."""
    clock, comings = MonotonicClock(STARTED), []
    shedder = LoadShedder(10_000, per_second, clock)

    for number, (events, pause) in enumerate(offers):
        if wait := retry_after(shedder, events, number):
            comings.append(clock.seconds + wait)
        clock.seconds += pause

    comings.sort()
    for first, last in itertools.combinations(range(len(comings)), 2):
        window = comings[last] - comings[first]
        assert last - first <= per_second * (window + 1) + 1e-6


@given(
    events=st.lists(st.integers(1, 5000), min_size=1, max_size=40),
    later=st.floats(0, 100_000),
)
def test_idle_limiter_rejects_nothing(events: list[int], later: float) -> None:
    clock = MonotonicClock(STARTED)
    shedder = LoadShedder(1, 1000, clock)
    for number, batch in enumerate(events):
        retry_after(shedder, batch, number)

    clock.seconds += 4 * sum(events) / 1000 + later

    assert retry_after(shedder, 5000) == 0


def test_draining_chain_retries_at_the_rate_limit() -> None:
    """2000 stores with batches of 50 at 1000 events per second: 20 retries per second."""
    clock = MonotonicClock(STARTED)
    shedder = LoadShedder(10_000, 1000, clock)
    for number in range(100):
        retry_after(shedder, 50, number)
        clock.seconds += 0.05

    waits = rejections(shedder, 2000)

    in_each_second = [waits.count(second) for second in range(2, 95)]
    assert (min(in_each_second), max(in_each_second)) == (19, 20)


def test_probes_of_a_chain_are_scheduled_as_single_events() -> None:
    shedder = LoadShedder(10_000, 1000, MonotonicClock(STARTED))
    for number in range(200):
        retry_after(shedder, 1, number)

    assert max(rejections(shedder, 5000)) <= 6


def test_retries_are_scheduled_at_the_rate_of_free_slots() -> None:
    clock = MonotonicClock(STARTED)
    shedder = LoadShedder(4, 0, clock)
    serve(shedder, clock, seconds=2, times=200)

    waits = rejections(shedder, 20)

    assert waits == [1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10]


def test_failed_request_does_not_count_for_the_service_time() -> None:
    clock = MonotonicClock(STARTED)
    shedder = LoadShedder(1, 0, clock)

    with suppress(OSError), shedder.measured():
        clock.seconds += 1_000_000
        raise OSError("the database is away")

    assert max(rejections(shedder, 10)) == 1


@pytest.mark.parametrize(("waiting", "is_joined"), [(0, True), (4, True), (5, False)])
def test_queue_longer_than_one_second_rejects(waiting: int, *, is_joined: bool) -> None:
    clock = MonotonicClock(STARTED)
    shedder = LoadShedder(8, 0, clock)
    serve(shedder, clock, seconds=2, times=200)

    try:
        shedder.check(sender(0), waiting)
        joined = True
    except Overloaded:
        joined = False

    assert joined is is_joined


def test_exhausted_rate_rejects_before_the_body_is_read() -> None:
    shedder = LoadShedder(1, 100, MonotonicClock(STARTED))
    retry_after(shedder, 201)

    with pytest.raises(Overloaded):
        shedder.check(sender(0))


def test_single_store_retries_after_five_seconds_while_the_database_is_down() -> None:
    shedder = LoadShedder(1, 0, MonotonicClock(STARTED))

    assert shedder.outage_retry_after() == 5


def test_retries_are_spread_while_the_database_is_down() -> None:
    """The database is down and 3000 stores are rejected at once."""
    shedder = LoadShedder(1, 0, MonotonicClock(STARTED))

    waits = [shedder.outage_retry_after() for _ in range(3000)]

    assert max(waits.count(second) for second in range(max(waits) + 1)) <= 100


@pytest.mark.parametrize("per_second", [0, 1, 10, 100_000])
def test_whole_chain_retries_within_45_seconds_while_the_database_is_down(per_second: int) -> None:
    shedder = LoadShedder(1, per_second, MonotonicClock(STARTED))

    waits = [shedder.outage_retry_after() for _ in range(10_000)]

    assert (min(waits), max(waits)) == (5, 45)
