"""How much is let in, and that what is refused comes again spread, and is taken then."""

import itertools
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.delivery.backoff import MAX_RETRY_AFTER_SECONDS
from sync.receiver.admission.rate_limit import LONGEST_SECONDS, Intake, TooBusy

BATCHES = st.integers(0, 5000)
STARTED = 1000.0


class Clock:
    """A clock that stands still until the test moves it."""

    def __init__(self) -> None:
        self.seconds = STARTED

    def __call__(self) -> float:
        return self.seconds


def wait_told(intake: Intake, events: int) -> int:
    """Offer a batch; return the seconds that it has to wait, 0 where it is let in."""
    try:
        intake.admit(events)
    except TooBusy as busy:
        return busy.retry_after_seconds
    return 0


def refused(intake: Intake, count: int) -> list[int]:
    """Have so many turned away; return the seconds that each is to wait."""
    return [intake.too_busy().retry_after_seconds for _ in range(count)]


def serve(intake: Intake, clock: Clock, seconds: float, times: int) -> None:
    """Have so many batches in hand, one after the other, for so long each."""
    for _ in range(times):
        with intake.serving():
            clock.seconds += seconds


def test_nobody_is_told_to_wait_for_longer_than_an_agent_heeds() -> None:
    assert LONGEST_SECONDS == MAX_RETRY_AFTER_SECONDS


@given(batches=st.lists(BATCHES))
def test_without_a_limit_everything_is_let_in(batches: list[int]) -> None:
    intake = Intake(1, 0, Clock())

    assert [wait_told(intake, events) for events in batches] == [0] * len(batches)


@given(batches=st.lists(BATCHES, max_size=20), per_second=st.integers(100, 10_000))
def test_batch_that_waits_as_long_as_it_was_told_is_let_in(
    batches: list[int], per_second: int
) -> None:
    clock = Clock()
    intake = Intake(1, per_second, clock)

    for events in batches:
        if wait := wait_told(intake, events):
            clock.seconds += wait
            assert wait_told(intake, events) == 0


@given(
    offers=st.lists(st.tuples(BATCHES, st.floats(0, 10)), max_size=50),
    per_second=st.integers(1, 10_000),
)
def test_over_any_time_no_more_is_let_in_than_the_limit_and_half_a_second_and_one_batch(
    offers: list[tuple[int, float]], per_second: int
) -> None:
    clock = Clock()
    intake = Intake(1, per_second, clock)
    let_in = 0

    for events, pause in offers:
        if not wait_told(intake, events):
            let_in += events
        most = per_second * (clock.seconds - STARTED + 0.5) + max(size for size, _ in offers)
        assert let_in <= most + 1e-6
        clock.seconds += pause


def test_batch_larger_than_a_second_holds_is_let_in_and_the_next_one_waits_for_it() -> None:
    intake = Intake(1, 100, Clock())

    assert [wait_told(intake, 1000), wait_told(intake, 1)] == [0, 10]


def test_quiet_hour_is_not_saved_up_for_a_flood() -> None:
    clock = Clock()
    intake = Intake(1, 100, clock)
    clock.seconds += 3600

    waits = [wait_told(intake, 50) for _ in range(5)]

    assert waits == [0, 0, 1, 2, 3]


@given(
    offers=st.lists(st.tuples(BATCHES, st.floats(0, 2)), max_size=80),
    per_second=st.integers(100, 10_000),
)
def test_in_any_time_no_more_are_told_to_come_again_than_events_may_come_in_it(
    offers: list[tuple[int, float]], per_second: int
) -> None:
    """Beside one, and those of the second that is told in whole ones."""
    clock, comings = Clock(), []
    intake = Intake(10_000, per_second, clock)

    for events, pause in offers:
        if wait := wait_told(intake, events):
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
def test_idle_receiver_asks_nobody_to_wait(events: list[int], later: float) -> None:
    clock = Clock()
    intake = Intake(1, 1000, clock)
    for batch in events:
        wait_told(intake, batch)

    clock.seconds += sum(events) / 1000 + later

    assert wait_told(intake, 5000) == 0


def test_stores_of_a_chain_that_empty_their_queues_come_back_at_the_limit() -> None:
    """2000 of them with batches of 50, at 1000 events a second: 20 come back in a second."""
    clock = Clock()
    intake = Intake(10_000, 1000, clock)
    for _ in range(100):
        intake.admit(50)
        clock.seconds += 0.05

    waits = refused(intake, 2000)

    in_each_second = [waits.count(second) for second in range(2, 95)]
    assert (min(in_each_second), max(in_each_second)) == (19, 20)


def test_probes_of_a_chain_are_not_put_off_as_if_each_were_a_batch() -> None:
    intake = Intake(10_000, 1000, Clock())
    for _ in range(200):
        intake.admit(1)

    assert max(refused(intake, 5000)) <= 6


def test_who_is_refused_for_want_of_a_place_comes_back_as_fast_as_places_become_free() -> None:
    clock = Clock()
    intake = Intake(4, 0, clock)
    serve(intake, clock, seconds=2, times=200)

    waits = refused(intake, 20)

    assert waits == [1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10]


def test_batch_that_failed_says_nothing_of_how_long_one_is_in_hand() -> None:
    clock = Clock()
    intake = Intake(1, 0, clock)

    with suppress(OSError), intake.serving():
        clock.seconds += 1_000_000
        raise OSError("the database is away")

    assert max(refused(intake, 10)) == 1


@pytest.mark.parametrize(("waiting", "is_joined"), [(0, True), (4, True), (5, False)])
def test_line_that_takes_longer_than_a_second_is_not_joined(
    waiting: int, *, is_joined: bool
) -> None:
    clock = Clock()
    intake = Intake(8, 0, clock)
    serve(intake, clock, seconds=2, times=200)

    try:
        intake.check(waiting)
        joined = True
    except TooBusy:
        joined = False

    assert joined is is_joined


def test_who_comes_while_all_is_paid_is_refused_before_its_body_is_read() -> None:
    intake = Intake(1, 100, Clock())
    intake.admit(201)

    with pytest.raises(TooBusy):
        intake.check()


def test_lone_store_tries_again_soon_after_the_database_was_away() -> None:
    intake = Intake(1, 0, Clock())

    assert intake.seconds_while_away() == 5


def test_stores_that_are_refused_in_one_second_do_not_all_come_in_another() -> None:
    """The database is away, and 3000 stores hear of it at once."""
    intake = Intake(1, 0, Clock())

    waits = [intake.seconds_while_away() for _ in range(3000)]

    assert max(waits.count(second) for second in range(max(waits) + 1)) <= 100


@pytest.mark.parametrize("per_second", [0, 1, 10, 100_000])
def test_stores_of_a_whole_chain_are_back_soon_after_the_database_is(per_second: int) -> None:
    intake = Intake(1, per_second, Clock())

    waits = [intake.seconds_while_away() for _ in range(10_000)]

    assert (min(waits), max(waits)) == (5, 45)
