"""How much is taken at one time: what is beyond comes again later, and is taken then."""

from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.receiver.intake import Intake
from sync.receiver.problems import Problem

BATCHES = st.integers(0, 5000)


class Clock:
    """A clock that stands still until the test moves it."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def wait_told(intake: Intake, events: int) -> int:
    """Offer a batch; return the seconds that it has to wait, 0 where it is let in."""
    try:
        intake.admit(events)
    except Problem as problem:
        return int(problem.headers["Retry-After"])
    return 0


def test_batch_beyond_the_places_is_asked_to_come_again() -> None:
    intake = Intake(1, 0, Clock())

    with (
        intake.one_batch(),
        pytest.raises(Problem, match="come again later") as raised,
        intake.one_batch(),
    ):
        pass

    assert raised.value.status == HTTPStatus.TOO_MANY_REQUESTS
    assert raised.value.headers == {"Retry-After": "1"}


def test_place_is_free_again_after_a_batch() -> None:
    intake = Intake(1, 0, Clock())

    with intake.one_batch():
        pass

    with intake.one_batch():
        pass


def test_place_is_free_again_after_a_batch_that_failed() -> None:
    intake = Intake(1, 0, Clock())

    with pytest.raises(OSError, match="cut"), intake.one_batch():
        raise OSError("cut")

    with intake.one_batch():
        pass


def test_refused_batch_does_not_free_a_place_that_it_never_had() -> None:
    intake = Intake(1, 0, Clock())

    with intake.one_batch():
        for _ in range(2):
            with pytest.raises(Problem), intake.one_batch():
                pass


@given(batches=st.lists(BATCHES))
def test_without_a_limit_everything_is_let_in(batches: list[int]) -> None:
    intake = Intake(1, 0, Clock())

    assert [wait_told(intake, events) for events in batches] == [0] * len(batches)


@given(batches=st.lists(BATCHES, max_size=20), per_second=st.integers(1, 10_000))
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
def test_over_any_time_no_more_is_let_in_than_the_limit_and_two_seconds_and_one_batch(
    offers: list[tuple[int, float]], per_second: int
) -> None:
    clock = Clock()
    intake = Intake(1, per_second, clock)
    let_in = 0

    for events, pause in offers:
        if not wait_told(intake, events):
            let_in += events
        most = per_second * (clock.seconds - 1000 + 2) + max(size for size, _ in offers)
        assert let_in <= most
        clock.seconds += pause


def test_batch_larger_than_a_second_holds_is_let_in_and_the_next_one_waits_for_it() -> None:
    intake = Intake(1, 100, Clock())

    assert [wait_told(intake, 1000), wait_told(intake, 1)] == [0, 10]


def test_quiet_hour_is_not_saved_up_for_a_flood() -> None:
    clock = Clock()
    intake = Intake(1, 100, clock)
    clock.seconds += 3600

    waits = [wait_told(intake, 100) for _ in range(4)]

    assert waits == [0, 0, 2, 2]
